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

"""
A model as an ``.onnx`` file for other software.

Input ``image``: float32 ``(1, 3, height, width)``, RGB, ``(pixel / 255 - mean) / std`` of an
image stretched to that size; output ``descriptor``: float32 ``(1, D)``, unit norm, compared by
their dot product. The metadata of the file say so, too, with the numbers of the model:
``input``, ``output``, ``width``, ``height``, ``mean``, ``std``, ``descriptor_id``, ``form``.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import onnx
from onnx import helper

from vpr_compressed import __version__
from vpr_compressed.errors import EngineError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.runtime.onnx_graph import build_graph
from vpr_compressed.runtime.onnx_graph import OUTPUT
from vpr_compressed.system.terminal import human_bytes

#: Form -> what it is; the first expands every weight, the second is what a robot runs.
FORMS = {
    'fp32': 'all weights and activations in float32',
    'int8': 'projection in int8; convolutions in int8 where the model has activation ranges'}


def write_onnx(model: Model, path: Path, form: str) -> None:
    """
    Write the graph of a model.

    :param path: overwritten
    :param form: key of :data:`FORMS`
    :raises EngineError: larger than ONNX files may be, or not to be written
    """
    if form == 'fp32':
        model = dataclasses.replace(model.with_precision('fp32'), activations={})
    elif model.precision != 'int8':
        model = model.with_precision('int8')
    proto = build_graph(model)
    size = model.preprocessing
    proto.doc_string = (
        f'Global descriptor for visual place recognition. Input {INPUT}: float32 '
        f'(1, 3, {size.height}, {size.width}), RGB, (pixel / 255 - mean) / std, stretched to that '
        f'size; output {OUTPUT}: float32 (1, {model.spec.dimension}), unit norm.')
    helper.set_model_props(proto, {
        'input': f'{INPUT}: float32 (1, 3, height, width), RGB, (pixel / 255 - mean) / std',
        'output': f'{OUTPUT}: float32 (1, {model.spec.dimension}), unit norm',
        'width': str(size.width), 'height': str(size.height), 'mean': json.dumps(size.mean),
        'std': json.dumps(size.std), 'form': f'{form}: {FORMS[form]}',
        'descriptor_id': model.descriptor_id, 'made_by': f'vpr_compressed {__version__} export',
        'provenance': json.dumps(dict(model.provenance))})
    try:
        onnx.checker.check_model(proto)
        path.write_bytes(proto.SerializeToString())
    except OSError as error:
        raise EngineError(f'cannot write {path}: {error.strerror}') from error
    except Exception as error:  # protobuf has its own, which differ by version
        raise EngineError(
            f'this network cannot be written as ONNX ({error}); a file holds 2 GB at most, the '
            f'weights are {human_bytes(4 * model.spec.parameters())} as float32') from error
