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

"""A model as a file for other software, checked before it is kept."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import Model
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.offline.network.engines import TORCH
from vpr_compressed.runtime.engines import DEFAULT
from vpr_compressed.runtime.engines import Engine
from vpr_compressed.runtime.parity import describe_reference
from vpr_compressed.system.files import whole_file

#: Lowest cosine to the model's own descriptors; rounding the projection to int8 costs a little.
_EXACT, _ROUNDED = 0.9999, 0.99


def export_model(
    model: Model, path: Path, form: str, *, threads: int = 0, overwrite: bool = False
) -> float:
    """
    Write a file, read it back and compare, and only then give it its name.

    :param form: ``onnx``, ``onnx-int8`` or ``torch``
    :param overwrite: replace a file of that name
    :returns: lowest cosine of the descriptors of four images to those of the model itself
    :raises ModelFileError: not written, or the file computes something else
    :raises VprError: an engine is missing
    """
    try:
        with whole_file(path, overwrite=overwrite) as part:
            cosine = _write(model, part, form, threads)
    except OSError as error:
        raise ModelFileError(f'cannot write {path}: {error.strerror or error}') from error
    return cosine


def _write(model: Model, path: Path, form: str, threads: int) -> float:
    """Write a file and return its lowest cosine, if that is good enough."""
    engine: Engine
    if form == 'torch':
        from vpr_compressed.offline.network.torch_export import read_torch
        from vpr_compressed.offline.network.torch_export import write_torch

        write_torch(model, path)
        engine = read_torch(path)
    else:
        from vpr_compressed.offline.network.onnx_export import model_in_form
        from vpr_compressed.offline.network.onnx_export import write_onnx
        from vpr_compressed.runtime.onnxruntime_engine import OnnxRuntimeEngine

        precision = 'int8' if form == 'onnx-int8' else 'fp32'
        write_onnx(model_in_form(model, precision), path, precision)
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
    if not rounded:
        model = dataclasses.replace(model.with_precision('fp32'), activations={})
    other = DEFAULT if engine.name == TORCH or find_spec(TORCH) is None else TORCH
    found = describe_reference(engine, model.preprocessing)
    wanted = describe_reference(ALL_ENGINES.load(model, other, threads), model.preprocessing)
    return float((found * wanted).sum(axis=1).min())
