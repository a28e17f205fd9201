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
import math
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_compressed.cli.offline import graceful
from vpr_compressed.cli.offline import INTERRUPTED
from vpr_compressed.cli.offline import parse_overrides
from vpr_compressed.cli.offline import start_torch
from vpr_compressed.cli.offline import tell
from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.offline.training.loop import Trainer
    from vpr_compressed.offline.training.loop import TrainRecord
    from vpr_compressed.offline.training.train_config import TrainConfig

NAME = 'train'
HELP = 'fine-tune a NetVLAD network on labelled images (needs the train extra: torch)'
EPILOG = """\
examples:
  # the packaged default model, from ImageNet weights (half an hour on 2 cores)
  vpr_compressed train --recipe config/recipes/train_default.yaml --data DATA \\
      --weights DATA/weights/mobilenet_v2_imagenet.safetensors --out out/train

  # stop with ctrl-C and give the same command again: it goes on where it was
  # try another loss for a few steps
  vpr_compressed train ... --set loss=multi_similarity --set steps=200 --out out/ms

  # on two processes (or GPUs, or machines) that share each batch; the result is the same
  torchrun --nproc-per-node 2 -m vpr_compressed train ... --threads 4

The folder --out receives model.vpr (the best weights, in the recipe's precision, with
calibrated thresholds), model_fp32.vpr, and a folder per run with checkpoint.pt, log.jsonl and
training.png."""


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
    parser.add_argument('--set', action='append', metavar='KEY=VALUE',
                        help='replace one value of the recipe; may be repeated')
    parser.add_argument('--threads', type=int, default=0,
                        help='CPU threads of a process, 0 for all cores (one under torchrun)')


def run(args: Namespace) -> int:
    """Train, calibrate and write the model files; 130 after ctrl-C."""
    start_torch(args.threads)
    from vpr_compressed.offline.training import parallel

    with parallel.joined():
        return _run_all(args)


def _run_all(args: Namespace) -> int:
    """Do every run of the recipe, then choose and write; in every process of ``torchrun``."""
    from vpr_compressed.offline.training.session import TrainSession
    from vpr_compressed.offline.training.train_config import load_train_config
    from vpr_compressed.offline.training.train_config import run_configs

    config = load_train_config(args.recipe, parse_overrides(args.set or []))
    session = TrainSession(config, args.data, args.out, args.weights)
    tell(f'{session.describe()}, recipe {args.recipe}')
    try:
        for number, run_config in enumerate(run_configs(config), start=1):
            trainer = session.start_run(run_config, number)
            if trainer.step:
                tell(f'run {number}: resuming at step {trainer.step} of {run_config.steps}')
            complete = _train(trainer, run_config, f'run {number}')
            session.finish_run(trainer, number)
            if not complete:
                tell(f'stopped at step {trainer.step}; give the same command again to go on')
                return INTERRUPTED
        session.export(args.recipe.name)
    finally:
        session.close()
    return 0


def _train(trainer: Trainer, config: TrainConfig, label: str) -> bool:
    """Run the loop under a progress bar; ctrl-C finishes the step and saves."""
    from vpr_compressed.offline.training import parallel

    with terminal.bar(label, config.steps, initial=trainer.step, unit='step',
                      disable=not parallel.is_main()) as bar, graceful(trainer.stop):
        def report(record: TrainRecord) -> None:
            bar.update(record.step - bar.n)
            if not math.isnan(record.loss):
                bar.set_postfix(loss=f'{record.loss:.3f}', refresh=False)
            if record.recalls:
                recalls = ', '.join(f'{key} {value:.3f}' for key, value in record.recalls.items())
                best = ' (best so far)' if record.is_best else ''
                tell(f'step {record.step}: recall@1 {recalls}{best}')
        return trainer.run(report)
