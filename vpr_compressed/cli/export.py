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

"""Verb ``export``: a model for other software, checked before it is kept."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path

from vpr_compressed.errors import ModelFileError
from vpr_compressed.system import terminal

FORMATS = ('onnx', 'onnx-int8', 'torch')
EPILOG = """\
formats:
  onnx       float32 graph: input image (1, 3, height, width), output descriptor (1, D)
  onnx-int8  the graph this package runs on a robot: the projection in int8, the convolutions, too,
             if the model has activation ranges (step quantize_activations of "compress")
  torch      dictionary for torch.load(weights_only=True): state_dict in float32, spec,
             preprocessing; needs the train extra

Feed RGB images stretched to the input size: (pixel / 255 - mean) / std. Size, mean and std are in
the metadata of the ONNX file and under "preprocessing" in the torch file.

examples:
  vpr_compressed export small --format onnx-int8 --out small.onnx
  vpr_compressed export out/site/model.vpr --format onnx --out site.onnx
  vpr_compressed export out/site/model.vpr --format torch --out site.pth

The file is read back and compared with the model on four made-up images before it gets its
name."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument(
        'model', type=Path, metavar='MODEL.vpr',
        help='model file, or a model of the package: default or small')
    parser.add_argument('--format', choices=FORMATS, required=True, help='what to write')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='file to write')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the file if it exists')
    parser.add_argument(
        '--threads', type=int, default=0, metavar='N', help='CPU threads, 0 for all cores')


def run(args: Namespace) -> None:
    """Write the file and say how well it agrees with the model."""
    from vpr_compressed.model_file.model import find_model
    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.offline.network.exporting import export_model
    from vpr_compressed.offline.training.torch_setup import load_torch

    path = find_model(args.model)
    model = read_model(path)
    if args.out.exists() and (not args.overwrite or args.out.samefile(path)):
        raise ModelFileError(
            f'{args.out} exists already; replace it with --overwrite (never the model itself), or '
            'choose another name')
    if args.format == 'torch':
        load_torch(args.threads)
    cosine = export_model(
        model, args.out, args.format, threads=args.threads, overwrite=args.overwrite)
    size = model.preprocessing
    compared = ' in float32' if model.activations and args.format != 'onnx-int8' else ''
    print(f'{args.out}: {terminal.human_bytes(args.out.stat().st_size)}, {args.format}, input '
          f'(1, 3, {size.height}, {size.width}), output (1, {model.spec.dimension}); lowest '
          f'cosine to the model{compared} {cosine:.6f}')
    if compared:
        print('the model rounds its activations to uint8 and this file does not: its descriptors '
              'are those of another network, not to be mixed with a map made on a robot')
