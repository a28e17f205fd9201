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
from pathlib import Path

from vpr_compressed.offline.training.torch_setup import load_torch
from vpr_compressed.system.processes import INTERRUPTED

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
    """Train, calibrate and write the model files; 130 after ctrl-C or SIGTERM."""
    load_torch(args.threads, for_training=True)
    from vpr_compressed.offline.training.session import train
    from vpr_compressed.offline.training.session import TrainJob
    from vpr_compressed.offline.training.train_config import load_train_config
    from vpr_compressed.offline.training.train_config import parse_overrides

    complete = train(TrainJob(
        config=load_train_config(args.recipe, parse_overrides(args.set or [])),
        name=args.recipe.name, data=args.data, out=args.out, weights=args.weights))
    return 0 if complete else INTERRUPTED
