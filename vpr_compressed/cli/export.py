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
import contextlib
import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_compressed.errors import ModelFileError
from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.model_file.model import Model
    from vpr_compressed.runtime.engines import Engine

FORMATS = ('onnx', 'onnx-int8', 'torch')
#: Lowest cosine to the model's own descriptors; rounding the projection to int8 costs a little.
_EXACT, _ROUNDED = 0.9999, 0.99
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
    """Write, read back, compare, and only then give the file its name."""
    from vpr_compressed.model_file.model import find_model
    from vpr_compressed.model_file.model import read_model

    path = find_model(args.model)
    model = read_model(path)
    if args.out.exists() and (not args.overwrite or args.out.samefile(path)):
        raise ModelFileError(
            f'{args.out} exists already; replace it with --overwrite (never the model itself), or '
            'choose another name')
    part = args.out.with_name(f'{args.out.name}.part')
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        cosine = export(model, part, args.format, args.threads)
        part.replace(args.out)
    except OSError as error:
        raise ModelFileError(f'cannot write {args.out}: {error.strerror}') from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    size = model.preprocessing
    compared = ' in float32' if model.activations and args.format != 'onnx-int8' else ''
    print(f'{args.out}: {terminal.human_bytes(args.out.stat().st_size)}, {args.format}, input '
          f'(1, 3, {size.height}, {size.width}), output (1, {model.spec.dimension}); lowest '
          f'cosine to the model{compared} {cosine:.6f}')
    if compared:
        print('the model rounds its activations to uint8 and this file does not: its descriptors '
              'are those of another network, not to be mixed with a map made on a robot')


def export(model: Model, path: Path, form: str, threads: int = 0) -> float:
    """
    Write a model in one format and compare what the file computes with the model itself.

    :param path: overwritten; of no use if this raises
    :param form: one of :data:`FORMATS`
    :returns: lowest cosine of the descriptors of four images
    :raises VprError: not written, or the file computes something else
    """
    engine: Engine
    if form == 'torch':
        from vpr_compressed.offline.training.torch_setup import load_torch
        load_torch(threads)
        from vpr_compressed.offline.network.torch_engine import read_torch
        from vpr_compressed.offline.network.torch_engine import write_torch

        write_torch(model, path)
        engine = read_torch(path)
    else:
        from vpr_compressed.offline.network.onnx_export import write_onnx
        from vpr_compressed.runtime.onnxruntime_engine import OnnxRuntimeEngine

        precision = 'int8' if form == 'onnx-int8' else 'fp32'
        write_onnx(model, path, precision)
        engine = OnnxRuntimeEngine(path, threads)
    cosine = _lowest_cosine(engine, model, rounded=form == 'onnx-int8', threads=threads)
    least = _ROUNDED if form == 'onnx-int8' else _EXACT
    if not cosine >= least:
        raise ModelFileError(
            f'the exported file computes something else than the model: lowest cosine '
            f'{cosine:.4f}, {least} is needed; nothing was written. Please report this with the '
            'model')
    return cosine


def _lowest_cosine(engine: Engine, model: Model, *, rounded: bool, threads: int) -> float:
    """Compare a file with the model on the other of two engines, where both are installed."""
    from vpr_compressed.offline.network.engines import ALL_ENGINES
    from vpr_compressed.offline.network.engines import TORCH
    from vpr_compressed.runtime.engines import DEFAULT
    from vpr_compressed.runtime.parity import describe_reference

    if not rounded:
        model = dataclasses.replace(model.with_precision('fp32'), activations={})
    other = DEFAULT if engine.name == TORCH or find_spec(TORCH) is None else TORCH
    found = describe_reference(engine, model.preprocessing)
    wanted = describe_reference(ALL_ENGINES.load(model, other, threads), model.preprocessing)
    return float((found * wanted).sum(axis=1).min())
