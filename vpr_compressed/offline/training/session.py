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

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
import math
from pathlib import Path
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed import __version__
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.accuracy.validation import check_disjoint
from vpr_compressed.offline.accuracy.validation import measure_recall
from vpr_compressed.offline.network.backbones import build_trunk
from vpr_compressed.offline.network.initialise import fit_projection
from vpr_compressed.offline.network.initialise import kmeans
from vpr_compressed.offline.network.initialise import sample_features
from vpr_compressed.offline.network.initialise import set_clusters
from vpr_compressed.offline.network.network import fast_convolutions
from vpr_compressed.offline.network.network import network_of
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.reports.figures import plot_training
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.describe import describe_images
from vpr_compressed.offline.training.labels import load_training_set
from vpr_compressed.offline.training.labels import TrainingSet
from vpr_compressed.offline.training.labels import validation_set
from vpr_compressed.offline.training.loop import TrainRecord
from vpr_compressed.offline.training.parallel import stop_signals
from vpr_compressed.offline.training.train_config import run_configs
from vpr_compressed.offline.training.train_config import TrainConfig
from vpr_compressed.offline.training.trainer import Trainer
from vpr_compressed.system.terminal import bar
from vpr_compressed.system.terminal import say

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """
    What to train, on what, and where to.

    :param name: of the recipe, for the provenance
    :param data: folder its paths are relative to
    :param out: folder for everything that is written
    :param weights: ImageNet weights of the trunk, or None
    """

    config: TrainConfig
    name: str
    data: Path
    out: Path
    weights: Path | None


def train(job: TrainJob) -> bool:
    """
    Do every run of a recipe, then choose and write; in every process of ``torchrun``.

    :returns: False if it was stopped; the same job again goes on
    :raises VprError: if data are missing, training and validation share images, or a checkpoint
        belongs to another recipe
    """
    with parallel.joined(), stop_signals() as stopped, closing(
            ImageLoader(PreprocessingSpec(width=job.config.width, height=job.config.height))
    ) as loader:
        session = _Session(job, loader)
        for number, config in enumerate(run_configs(job.config), start=1):
            if not session.run(config, number, stopped):
                return False
        session.export()
    return True


class _Session:
    """One recipe at work in one folder, in every process; the main one alone writes there."""

    def __init__(self, job: TrainJob, loader: ImageLoader) -> None:
        self._config, self._out, self._job, self._loader = job.config, job.out, job, loader
        self._data = load_training_set(job.data, job.config.data)
        self._sets = [validation_set(job.data, item) for item in job.config.validation]
        check_disjoint(self._sets, self._data.paths)
        self._results: list[Tensors] = []
        if parallel.is_main():
            job.out.mkdir(parents=True, exist_ok=True)
        parallel.tell(f'{len(self._data)} training images, {len(self._sets)} validation sets, '
                      f'recipe {job.name}')

    def run(self, config: TrainConfig, number: int, stopped: Callable[[], bool]) -> bool:
        """
        Do one run of the recipe from where it was, and draw how it went.

        :param number: from 1; names the folder
        :returns: whether it is complete
        """
        network = self._starting_network()
        folder = self._out / f'run_{number}'
        if parallel.is_main():
            folder.mkdir(exist_ok=True)
        trainer = Trainer(
            network, self._data, self._loader, config, folder,
            lambda describe: measure_recall(self._sets, describe))
        if trainer.resume() and trainer.step:
            parallel.tell(f'run {number}: resuming at step {trainer.step} of {config.steps}')
        with bar(f'run {number}', config.steps, initial=trainer.step, unit='step',
                 disable=not parallel.is_main()) as shown:
            complete = trainer.train(partial(_show, shown), stopped=stopped)
        self._results.append(trainer.best)
        log = folder / 'log.jsonl'
        if parallel.is_main() and log.exists():
            plot_training(log, log.with_name('training.png'))
        if not complete:
            parallel.tell(f'stopped at step {trainer.step}; give the same command again to go on')
        parallel.barrier()  # who ends early after ctrl-C has torchrun end the others
        return complete

    def export(self) -> None:
        """Choose among the runs and their average, and write the model files."""
        network = self._starting_network()
        candidates: dict[str, Tensors] = {}
        # First, so that it wins a tie: averages hold better on other data than what they mix.
        if len(self._results) > 1:
            candidates['the average of all runs'] = {
                name: np.mean([tensors[name] for tensors in self._results], axis=0)
                for name in self._results[0]}
        candidates |= {f'run {number}': tensors
                       for number, tensors in enumerate(self._results, start=1)}
        best: tuple[float, str, dict[str, float]] = (-1.0, next(iter(candidates)), {})
        if self._sets:
            for name, tensors in candidates.items():
                recalls = self._measure(network, tensors)
                score = float(np.mean(list(recalls.values())))
                parallel.tell(f'{name}: recall@1 ' + _in_words(recalls))
                best = max(best, (score, name, recalls), key=lambda item: item[0])
        _, name, chosen = best
        parallel.tell(f'keeping {name}')
        if parallel.is_main():
            self._write(network, candidates[name], chosen, name)

    def _starting_network(self) -> VprNetwork:
        """Return the initial network; all runs share the one kept in the folder."""
        def stored() -> tuple[NetworkSpec, Tensors]:
            path = self._out / 'initial.vpr'
            if not path.exists():
                self._make_initial(path)
            model = read_model(path)
            return model.spec, {name: model.float_tensor(name) for name in model.tensors}

        return network_of(*parallel.from_main(stored))

    def _make_initial(self, path: Path) -> None:
        """Fit centres and projection and write them; a crash leaves no file."""
        for folder in self._out.glob('run_*'):
            shutil.rmtree(folder)  # checkpoints of a start that is gone
        network = initial_network(self._config, self._data, self._loader, self._job.weights)
        write_model(path, Model(
            spec=network.spec, preprocessing=self._loader.spec, tensors=network.tensors(),
            provenance={'stage': 'before training'}))

    def _measure(self, network: VprNetwork, tensors: Tensors) -> dict[str, float]:
        """Measure weights as they will be stored and run: in the final precision, float32."""
        stored = self._model(network, tensors).with_precision(self._config.export)
        network.load_tensors({name: stored.float_tensor(name) for name in stored.tensors})
        return measure_recall(
            self._sets, partial(describe_images, network, self._loader, exact=True))

    def _model(self, network: VprNetwork, tensors: Tensors) -> Model:
        """Return weights as a model with the cautious default calibration."""
        return Model(spec=network.spec, preprocessing=self._loader.spec, tensors=dict(tensors))

    def _write(
        self, network: VprNetwork, tensors: Tensors, recalls: dict[str, float], origin: str
    ) -> None:
        """Write ``model.vpr`` in the recipe's precision and ``model_fp32.vpr``."""
        facts = {
            'made_by': f'vpr_compressed {__version__} train', 'recipe': self._job.name,
            'weights': origin,
            'runs': [{'seed': run.seed, 'steps': run.steps} for run in run_configs(self._config)],
            'validation_recall_at_1': recalls, 'validated_in': self._config.export,
            'data': [source.folder or list(source.walks) for source in self._config.data],
            **_attribution(self._job.weights)}
        for name, precision in (('model_fp32.vpr', 'fp32'), ('model.vpr', self._config.export)):
            path = self._out / name
            write_model(path, replace(
                self._model(network, tensors).with_precision(precision), provenance=facts),
                overwrite=True)
            say(f'wrote {path} ({path.stat().st_size / 1e6:.1f} MB, {precision})')
        say(f'decisions: {DecisionCalibration().origin}')


def _attribution(weights: Path | None) -> dict[str, object]:
    """Return what the trunk's weights say of themselves."""
    if weights is None:
        return {}
    from safetensors import safe_open

    with safe_open(str(weights), 'np') as stream:
        return {'trunk_weights': {**(stream.metadata() or {}), 'file': weights.name}}


def _show(shown: Any, record: TrainRecord) -> None:
    """Move a bar, and say what a validation found."""
    shown.update(record.step - shown.n)
    if not math.isnan(record.loss):
        shown.set_postfix(loss=f'{record.loss:.3f}', refresh=False)
    if record.recalls:
        best = ' (best so far)' if record.is_best else ''
        parallel.tell(f'step {record.step}: recall@1 {_in_words(record.recalls)}{best}')


def _in_words(recalls: Mapping[str, float]) -> str:
    """Return recalls as text."""
    return ', '.join(f'{name} {value:.3f}' for name, value in recalls.items())


def initial_network(
    config: TrainConfig, data: TrainingSet, loader: ImageLoader, weights: Path | None
) -> VprNetwork:
    """
    Build the network of a recipe and fit its centres and projection.

    :param data: images to fit on; each is used as it is and once augmented
    :param weights: ImageNet weights of the trunk (safetensors), or None for random ones
    :returns: a network that already recognises places, before any training
    :raises TrainingError: if images or weights cannot be used
    """
    torch.manual_seed(config.seed)
    trunk = build_trunk(config.trunk, weights=weights, cut=config.cut)
    network = network_of(NetworkSpec(
        trunk=config.trunk, layers=tuple(trunk.layers), clusters=config.clusters,
        dimension=config.dimension), trunk.tensors)
    device = network.projection.weight.device
    order = np.random.default_rng(config.seed).permutation(len(data))[:config.init_images]
    paths = [data.paths[index] for index in np.sort(order)]

    def images(stage: str) -> Iterator[Tensor]:
        with bar(f'initialise: {stage}', 2 * len(paths), unit='image') as shown:
            for change in ('', 'augment'):
                for batch in loader.batches(paths, change=change, seed=config.seed):
                    yield torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
                    shown.update(len(batch))

    with fast_convolutions(device):
        features = sample_features(network, images('cluster centres'), seed=config.seed)
    set_clusters(network, kmeans(features, config.clusters, seed=config.seed),
                 sharpness=config.sharpness)
    fit_whitening(network, images('whitening'), power=config.whitening_power)
    return network


def fit_whitening(network: VprNetwork, batches: Iterable[Tensor], *, power: float) -> None:
    """
    Replace the projection of a network by a PCA of its VLAD vectors.

    :param batches: normalised images, each ``(B, 3, h, w)``, on the device of the network
    :param power: 0 keeps the variances, 1 makes them all equal
    :raises TrainingError: if there are fewer images than dimensions
    """
    device = network.projection.weight.device
    vectors = []
    with torch.inference_mode():
        for batch in batches:
            with fast_convolutions(device):
                local = network.features(batch)
            vectors.append(network.netvlad(local.float()).cpu())
    weight, bias = fit_projection(torch.cat(vectors), network.spec.dimension, power=power)
    with torch.no_grad():
        network.projection.weight.copy_(weight)
        network.projection.bias.copy_(bias)
