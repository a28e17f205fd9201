# Copyright 2026 The vpr_compressed authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""What the ``train`` verb works on: data, starting network, runs, and the exported model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
import shutil

import numpy as np
from numpy.typing import NDArray

from vpr_compressed import __version__
from vpr_compressed.cli.offline import tell
from vpr_compressed.cli.offline import THRESHOLD_PRECISION
from vpr_compressed.cli.offline import validation_set
from vpr_compressed.model_file.calibration import SimilarityCalibration
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.accuracy.calibrate import fit_calibration
from vpr_compressed.offline.accuracy.validation import check_disjoint
from vpr_compressed.offline.accuracy.validation import measure
from vpr_compressed.offline.accuracy.validation import Measurement
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.reports.training_plot import plot_training
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.describe import describe_images
from vpr_compressed.offline.training.initial_network import initial_network
from vpr_compressed.offline.training.labels import load_training_set
from vpr_compressed.offline.training.loop import Trainer
from vpr_compressed.offline.training.train_config import run_configs
from vpr_compressed.offline.training.train_config import TrainConfig
from vpr_compressed.system.terminal import bar
from vpr_compressed.system.terminal import say

Tensors = Mapping[str, NDArray[np.float32]]


class TrainSession:
    """
    One recipe at work in one folder, in every process; the main one alone writes there.

    :param config: recipe
    :param data: folder its paths are relative to
    :param out: folder for everything that is written
    :param weights: ImageNet weights of the trunk, or None
    :raises VprError: if data are missing, or training and validation share images
    """

    def __init__(
        self, config: TrainConfig, data: Path, out: Path, weights: Path | None
    ) -> None:
        self._config, self._out, self._weights = config, out, weights
        self._data = load_training_set(data, config.data)
        self._sets = [validation_set(data, item) for item in config.validation]
        check_disjoint(self._sets, self._data.paths)
        self._preprocessing = PreprocessingSpec(width=config.width, height=config.height)
        self._loader = ImageLoader(self._preprocessing)
        self._results: list[Tensors] = []
        if parallel.is_main():
            out.mkdir(parents=True, exist_ok=True)

    def describe(self) -> str:
        """Return what the session works on, in words."""
        return f'{len(self._data)} training images, {len(self._sets)} validation sets'

    def start_run(self, config: TrainConfig, number: int) -> Trainer:
        """
        Return the trainer of one run, at its checkpoint if there is one.

        :param config: recipe of this run
        :param number: from 1; names the folder
        :raises TrainingError: if the checkpoint belongs to another recipe
        """
        network = self._starting_network()
        folder = self._out / f'run_{number}'
        if parallel.is_main():
            folder.mkdir(exist_ok=True)
        trainer = Trainer(
            network, self._data, self._loader, config, folder,
            lambda describe: measure(self._sets, describe).recalls if self._sets else {})
        trainer.resume()
        return trainer

    def finish_run(self, trainer: Trainer, number: int) -> None:
        """Keep the best weights of a run and draw how it went."""
        self._results.append(trainer.best)
        log = self._out / f'run_{number}' / 'log.jsonl'
        if parallel.is_main() and log.exists():
            plot_training(log, log.with_name('training.png'))
        parallel.barrier()  # who ends early after ctrl-C has torchrun end the others

    def export(self, recipe: str) -> None:
        """
        Choose among the runs and their average, calibrate, and write the model files.

        :param recipe: its name, for the provenance
        """
        network = self._starting_network()
        candidates: dict[str, Tensors] = {}
        # First, so that it wins a tie: averages hold better on other data than what they mix.
        if len(self._results) > 1:
            candidates['the average of all runs'] = {
                name: np.mean([tensors[name] for tensors in self._results], axis=0)
                for name in self._results[0]}
        candidates |= {f'run {number}': tensors
                       for number, tensors in enumerate(self._results, start=1)}
        best: tuple[float, str, Measurement | None] = (-1.0, next(iter(candidates)), None)
        if self._sets:
            for name, tensors in candidates.items():
                measured = self._measure(network, tensors)
                score = float(np.mean(list(measured.recalls.values())))
                tell(f'{name}: recall@1 ' + _in_words(measured.recalls))
                best = max(best, (score, name, measured), key=lambda item: item[0])
        _, name, chosen = best
        tell(f'keeping {name}')
        if parallel.is_main():
            self._write(network, candidates[name], chosen, {'recipe': recipe, 'weights': name})

    def close(self) -> None:
        """Stop the threads that read images."""
        self._loader.close()

    def _starting_network(self) -> VprNetwork:
        """Return the initial network; all runs share the one kept in the folder."""
        def stored() -> tuple[NetworkSpec, Tensors]:
            path = self._out / 'initial.vpr'
            if not path.exists():
                self._make_initial(path)
            model = read_model(path)
            return model.spec, {name: model.float_tensor(name) for name in model.tensors}

        spec, tensors = parallel.from_main(stored)
        network = VprNetwork(spec)
        network.load_tensors(tensors)
        return network

    def _make_initial(self, path: Path) -> None:
        """Fit centres and projection and write them; a crash leaves no file."""
        for folder in self._out.glob('run_*'):
            shutil.rmtree(folder)  # checkpoints of a start that is gone
        with bar('initialise', unit='image') as shown:
            def progress(stage: str, done: int, total: int) -> None:
                shown.set_description(f'initialise: {stage}', refresh=False)
                shown.total = total
                shown.update(done - shown.n)
            network = initial_network(
                self._config, self._data, self._loader, self._weights, progress)
        write_model(path, Model(
            spec=network.spec, preprocessing=self._preprocessing, tensors=network.tensors(),
            provenance={'stage': 'before training'}))

    def _measure(self, network: VprNetwork, tensors: Tensors) -> Measurement:
        """Measure weights as they will be stored and run: in the final precision, float32."""
        stored = self._model(network, tensors).with_precision(self._config.export)
        network.load_tensors({name: stored.float_tensor(name) for name in stored.tensors})
        return measure(self._sets, partial(describe_images, network, self._loader, exact=True))

    def _model(self, network: VprNetwork, tensors: Tensors) -> Model:
        """Return weights as a model without calibration."""
        return Model(spec=network.spec, preprocessing=self._preprocessing, tensors=dict(tensors))

    def _write(
        self, network: VprNetwork, tensors: Tensors, measured: Measurement | None,
        provenance: Mapping[str, object]
    ) -> None:
        """Write ``model.vpr`` in the recipe's precision and ``model_fp32.vpr``."""
        calibration, recalls = SimilarityCalibration(), {}
        if measured is not None:
            recalls = measured.recalls
            if measured.correct.any() and not measured.correct.all():
                calibration = fit_calibration(
                    measured.similarities, measured.correct, precision=THRESHOLD_PRECISION)
        facts = {
            'made_by': f'vpr_compressed {__version__} train', **provenance,
            'runs': [{'seed': run.seed, 'steps': run.steps} for run in run_configs(self._config)],
            'validation_recall_at_1': recalls, 'validated_in': self._config.export,
            'threshold_precision': THRESHOLD_PRECISION, 'data': [
                source.folder or list(source.walks) for source in self._config.data],
            **_attribution(self._weights)}
        for name, precision in (('model_fp32.vpr', 'fp32'), ('model.vpr', self._config.export)):
            stored = self._model(network, tensors).with_precision(precision)
            path = self._out / name
            write_model(path, Model(
                spec=stored.spec, preprocessing=stored.preprocessing, tensors=stored.tensors,
                calibration=calibration, provenance=facts), overwrite=True)
            say(f'wrote {path} ({path.stat().st_size / 1e6:.1f} MB, {precision})')


def _attribution(weights: Path | None) -> dict[str, object]:
    """Return what the trunk's weights say of themselves."""
    if weights is None:
        return {}
    from safetensors import safe_open

    with safe_open(str(weights), 'np') as stream:
        return {'trunk_weights': {**(stream.metadata() or {}), 'file': weights.name}}


def _in_words(recalls: Mapping[str, float]) -> str:
    """Return recalls as text."""
    return ', '.join(f'{name} {value:.3f}' for name, value in recalls.items())
