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

"""Verb ``compress``: prune and quantize a model by a recipe, on labelled or plain images."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path

from vpr_compressed.offline.training.torch_setup import load_torch
from vpr_compressed.system.processes import INTERRUPTED

NOT_ACCEPTED = 3
EPILOG = """\
examples:
  # fit a model to your own site: a bag or an image folder, no labels needed
  vpr_compressed compress --recipe config/recipes/site.yaml --images site.mcap --out out/site

  # the packaged default, from the float network of "vpr_compressed train"
  vpr_compressed compress --recipe config/recipes/default.yaml --data DATA \\
      --model out/train/model_fp32.vpr --out out/default

  # stop with ctrl-C (or pull the plug) and give the same command again: it goes on
  # change a value of the recipe: the bits of its third step
  vpr_compressed compress ... --set steps.3.bits=4

  # on two processes (or GPUs) that share each batch
  torchrun --nproc-per-node 2 -m vpr_compressed compress ... --threads 4

A recipe is a list of steps: truncate_whitening, reduce_channels, prune_channels, sparsify,
quantize, quantize_activations, finetune. After each step the network is measured as it would
run on a robot. The last one is judged on images that were not trained on: with labels by
recall@1 and mAP against the parent, without by agreement with the parent on the end of the
recording. A model that fails is not written (exit status 3), and report.html says by how much."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument('--recipe', type=Path, required=True, help='YAML file: the steps')
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument('--data', type=Path, metavar='ROOT',
                      help='folder the labelled images of the recipe are relative to')
    data.add_argument('--images', type=Path, metavar='FOLDER_OR_BAG',
                      help='images without labels: a folder or a ROS bag')
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument('--model', type=Path, metavar='PARENT.vpr',
                        help='model to compress (default: the one in the package)')
    parser.add_argument('--out', type=Path, default=Path('out/compress'),
                        help='folder for the model, the report and checkpoints')
    parser.add_argument('--cache', type=Path,
                        help='folder for the images at network size (default: OUT/cache); give '
                             'several runs on the same images the same one')
    parser.add_argument('--seed', type=int, help='replaces the seed of the recipe')
    parser.add_argument('--set', action='append', metavar='KEY=VALUE',
                        help='replace one value of the recipe, such as steps.2.bits=4; may be '
                             'repeated')
    parser.add_argument('--threads', type=int, default=0,
                        help='CPU threads of a process, 0 for all cores (one under torchrun)')
    parser.add_argument('--progress', choices=('bar', 'json'), default='bar',
                        help='json prints one object a line on stdout, for programs')


def run(args: Namespace) -> int:
    """Compress; 0 written, 3 not accepted, 130 interrupted."""
    load_torch(args.threads, for_training=True)
    from vpr_compressed.model_file.model import find_model
    from vpr_compressed.offline.compression.data import Origin
    from vpr_compressed.offline.compression.display import BarDisplay
    from vpr_compressed.offline.compression.display import JsonDisplay
    from vpr_compressed.offline.compression.recipe import load_recipe
    from vpr_compressed.offline.compression.session import compress
    from vpr_compressed.offline.compression.session import CompressJob
    from vpr_compressed.offline.training.parallel import StoppedError
    from vpr_compressed.offline.training.train_config import parse_overrides

    overrides = parse_overrides(args.set or [])
    if args.seed is not None:
        overrides['seed'] = args.seed
    recipe = load_recipe(args.recipe, overrides)
    display = JsonDisplay if args.progress == 'json' else BarDisplay
    try:
        accepted = compress(
            CompressJob(
                recipe=recipe, name=args.recipe.stem, parent=find_model(args.model),
                origin=Origin(args.data, args.images, args.topic), out=args.out,
                cache=args.cache or args.out / 'cache', command=args.command_line,
                threads=args.threads),
            display([step.NAME for step in recipe.steps]))
    except StoppedError:
        return INTERRUPTED
    return 0 if accepted else NOT_ACCEPTED
