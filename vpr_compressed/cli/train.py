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

"""Verb ``train``: fit and fine-tune a network on labelled images, and write its model file."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import math
from pathlib import Path
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpr_compressed.compression.batches import ImageLoader
    from vpr_compressed.compression.finetune import Trainer
    from vpr_compressed.compression.finetune import TrainRecord
    from vpr_compressed.compression.train_config import TrainConfig
    from vpr_compressed.compression.training_data import TrainingSet
    from vpr_compressed.evaluation.validation import ValidationSet
    from vpr_compressed.model.network import VprNetwork
    from vpr_compressed.preprocessing import PreprocessingSpec

NAME = 'train'
HELP = 'fine-tune a NetVLAD network on labelled images (needs the train extra: torch)'
EPILOG = """\
examples:
  # the packaged default model, from ImageNet weights (about an hour on 2 cores)
  vpr_compressed train --recipe config/recipes/train_default.yaml --data DATA \\
      --weights DATA/weights/mobilenet_v2_imagenet.safetensors --out out/train

  # stop with ctrl-C and give the same command again: it goes on where it was
  # try another loss for a few steps
  vpr_compressed train ... --set loss=multi_similarity --set steps=200 --out out/ms

The folder --out receives model.vpr (the best weights, in the recipe's precision, with
calibrated thresholds), model_fp32.vpr, training.png, log.jsonl and checkpoint.pt."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument('--recipe', type=Path, required=True,
                        help='YAML file: network, data, losses, schedule')
    parser.add_argument('--data', type=Path, required=True,
                        help='folder the paths in the recipe are relative to')
    parser.add_argument('--weights', type=Path,
                        help='ImageNet weights of the trunk: .safetensors with torchvision keys; '
                             'without it the trunk starts random (only useful for tests)')
    parser.add_argument('--out', type=Path, default=Path('out/train'),
                        help='folder for checkpoints and models')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE',
                        help='replace one value of the recipe; may be repeated')
    parser.add_argument('--threads', type=int, default=0,
                        help='CPU threads, 0 for all cores')


def run(args: Namespace) -> int:
    """Train, calibrate and write the model files; 130 after ctrl-C."""
    try:
        import torch
    except ImportError as error:
        from vpr_compressed.errors import TrainingError
        raise TrainingError(
            'training needs torch and torchvision, which are not installed; run '
            '"pip install vpr_compressed[train]" or "make setup"') from error
    from vpr_compressed.compression.batches import ImageLoader
    from vpr_compressed.compression.finetune import Trainer
    from vpr_compressed.compression.train_config import load_train_config
    from vpr_compressed.compression.training_data import load_training_set
    from vpr_compressed.evaluation.validation import check_disjoint
    from vpr_compressed.evaluation.validation import measure
    from vpr_compressed.preprocessing import PreprocessingSpec

    if args.threads:
        torch.set_num_threads(args.threads)
    _keep_freed_memory()
    config = load_train_config(args.recipe, _parse_overrides(args.set))
    data = load_training_set(args.data, config.data)
    sets = _validation_sets(args.data, config)
    check_disjoint(sets, data.paths)
    preprocessing = PreprocessingSpec(width=config.width, height=config.height)
    loader = ImageLoader(preprocessing)
    args.out.mkdir(parents=True, exist_ok=True)
    _say(f'{len(data)} training images, {len(sets)} validation sets, recipe {args.recipe}')
    try:
        network = _starting_network(args, config, data, loader)
        trainer = Trainer(network, data, loader, config, args.out,
                          lambda describe: measure(sets, describe).recalls if sets else {})
        if trainer.resume():
            _say(f'resuming at step {trainer.step} of {config.steps}')
        complete = _train(trainer, config)
        if complete:
            _export(args, config, trainer, preprocessing, sets)
    finally:
        loader.close()
    _plot(args.out)
    if not complete:
        _say(f'stopped at step {trainer.step}; give the same command again to go on')
        return 130
    return 0


def _keep_freed_memory() -> None:
    """
    Tell glibc to keep freed memory for the next step.

    By default it hands every large block back to the system and clears the pages again at the
    next step, which took a third of the CPU time of a training on two cores.
    """
    import ctypes

    mmap_threshold, trim_threshold = -3, -1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # another C library; only slower
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)


def _parse_overrides(pairs: list[str]) -> dict[str, object]:
    """Turn ``KEY=VALUE`` texts into values."""
    import yaml

    from vpr_compressed.errors import ConfigError

    values: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not equals:
            raise ConfigError(f'--set needs KEY=VALUE, got {pair!r}')
        values[key] = yaml.safe_load(text)
    return values


def _validation_sets(root: Path, config: TrainConfig) -> list[ValidationSet]:
    """Read the validation images of the recipe."""
    from vpr_compressed.compression.training_data import list_images
    from vpr_compressed.evaluation.validation import positions_set
    from vpr_compressed.evaluation.validation import walks_set

    sets = []
    for item in config.validation:
        if item.kind == 'positions':
            sets.append(positions_set(item.name, list_images(root / item.folder),
                                      root / item.table, item.split, item.radius_m, item.dark))
        else:
            sets.append(walks_set(item.name, list_images(root / item.query),
                                  list_images(root / item.reference), root / item.ground_truth,
                                  item.dark))
    return sets


def _starting_network(
    args: Namespace, config: TrainConfig, data: TrainingSet, loader: ImageLoader
) -> VprNetwork:
    """Return the initial network; it is kept in the folder so that resuming is quick."""
    from tqdm import tqdm

    from vpr_compressed.compression.initial_network import initial_network
    from vpr_compressed.model.network import VprNetwork
    from vpr_compressed.model_file import Model
    from vpr_compressed.model_file import read_model
    from vpr_compressed.model_file import write_model
    from vpr_compressed.preprocessing import PreprocessingSpec

    path = args.out / 'initial.vpr'
    if path.exists() and (args.out / 'checkpoint.pt').exists():
        stored = read_model(path)
        network = VprNetwork(stored.spec)
        network.load_tensors({name: stored.float_tensor(name) for name in stored.tensors})
        return network
    with tqdm(desc='initialise', unit='image', dynamic_ncols=True, mininterval=_interval()) as bar:
        def progress(stage: str, done: int, total: int) -> None:
            bar.set_description(f'initialise: {stage}', refresh=False)
            bar.total = total
            bar.update(done - bar.n)
        network = initial_network(config, data, loader, args.weights, progress)
    write_model(path, Model(
        spec=network.spec, preprocessing=PreprocessingSpec(
            width=config.width, height=config.height),
        tensors=network.tensors(), provenance={'stage': 'before training'}), overwrite=True)
    return network


def _train(trainer: Trainer, config: TrainConfig) -> bool:
    """Run the loop under a progress bar; ctrl-C finishes the step and saves."""
    from tqdm import tqdm

    with tqdm(total=config.steps, initial=trainer.step, unit='step', desc='train',
              dynamic_ncols=True, mininterval=_interval()) as bar, _graceful(trainer.stop):
        def report(record: TrainRecord) -> None:
            bar.update(record.step - bar.n)
            if not math.isnan(record.loss):
                bar.set_postfix(loss=f'{record.loss:.3f}', refresh=False)
            if record.recalls:
                recalls = ', '.join(f'{key} {value:.3f}' for key, value in record.recalls.items())
                best = ' (best so far)' if record.is_best else ''
                tqdm.write(f'step {record.step}: recall@1 {recalls}{best}', file=sys.stderr)
        return trainer.run(report)


@contextmanager
def _graceful(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first ctrl-C or SIGTERM; a second ctrl-C interrupts at once."""
    previous = {}

    def handle(_number: int, _frame: object) -> None:
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _say('finishing this step; once more to stop at once')

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _export(
    args: Namespace, config: TrainConfig, trainer: Trainer, preprocessing: PreprocessingSpec,
    sets: list[ValidationSet]
) -> None:
    """Calibrate the best weights in their final precision and write the model files."""
    from vpr_compressed import __version__
    from vpr_compressed.calibration import fit_calibration
    from vpr_compressed.calibration import SimilarityCalibration
    from vpr_compressed.evaluation.validation import measure
    from vpr_compressed.model_file import Model
    from vpr_compressed.model_file import write_model

    for name, precision in (('model_fp32.vpr', 'fp32'), ('model.vpr', config.export)):
        model = Model(
            spec=trainer.network.spec, preprocessing=preprocessing, tensors=trainer.best,
        ).with_precision(precision)
        trainer.set_average({key: model.float_tensor(key) for key in model.tensors})
        recalls, calibration = {}, SimilarityCalibration()
        if sets:
            measured = measure(sets, trainer.describe)
            recalls = measured.recalls
            calibration = fit_calibration(measured.similarities, measured.correct)
        provenance = {
            'made_by': f'vpr_compressed {__version__} train', 'recipe': args.recipe.name,
            'steps': config.steps, 'seed': config.seed, 'validation_recall_at_1': recalls,
            'threshold_precision': 0.99, **_provenance(args, config)}
        path = args.out / name
        write_model(path, Model(
            spec=model.spec, preprocessing=preprocessing, tensors=model.tensors,
            calibration=calibration, provenance=provenance), overwrite=True)
        _say(f'wrote {path} ({path.stat().st_size / 1e6:.1f} MB, {precision}), validation '
             + ', '.join(f'{key} {value:.3f}' for key, value in recalls.items()))


def _provenance(args: Namespace, config: TrainConfig) -> dict[str, object]:
    """Return what the weights were made from, with the attribution stored beside them."""
    described: dict[str, object] = {'data': [
        source.folder or list(source.walks) for source in config.data]}
    if args.weights is not None:
        from safetensors import safe_open
        with safe_open(str(args.weights), 'np') as stream:
            described['trunk_weights'] = {
                **(stream.metadata() or {}), 'file': args.weights.name}
    return described


def _plot(folder: Path) -> None:
    """Draw loss and validation recall over the steps, if there is a log."""
    from vpr_compressed.evaluation.training_plot import plot_training

    log = folder / 'log.jsonl'
    if log.exists():
        plot_training(log, folder / 'training.png')


def _interval() -> float:
    """Return the seconds between two updates of a bar: rare ones where it goes to a file."""
    return 0.5 if sys.stderr.isatty() else 30.0


def _say(text: str) -> None:
    """Print one line beside the progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
