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

"""Model files: bit for bit, complete or refused."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import hashlib
import json
from pathlib import Path
import struct

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import ModelFileError
from vpr_compressed.tensors import quantize
from vpr_compressed.tensors import QuantizedTensor
from vpr_compressed.model_file import read_model
from vpr_compressed.model_file import write_model


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_a_model_is_read_as_it_was_written(precision: str, tmp_path: Path) -> None:
    """Every tensor, the specification, thresholds and provenance come back bit for bit."""
    model = make_tiny_model().with_precision(precision)
    path = tmp_path / 'model.vpr'
    write_model(path, model)
    found = read_model(path)
    assert found.precision == precision
    assert (found.spec, found.preprocessing) == (model.spec, model.preprocessing)
    assert (found.calibration, found.provenance) == (model.calibration, model.provenance)
    assert found.descriptor_id == model.descriptor_id
    for name in model.spec.tensor_shapes():
        np.testing.assert_array_equal(found.float_tensor(name), model.float_tensor(name))


def test_int8_weights_are_within_half_a_step(rng: np.random.Generator) -> None:
    """Rounding moves a weight by at most half the scale of its channel."""
    weights = rng.standard_normal((5, 3, 2, 2)).astype(np.float32)
    weights[2] = 0.0
    stored = quantize(weights)
    error = np.abs(stored.dequantize() - weights).reshape(5, -1).max(axis=1)
    assert (error <= stored.scale / 2 * 1.001).all()
    assert stored.values.min() >= -127
    assert not stored.values[2].any()


def test_int8_file_is_a_quarter_of_the_float_file(tmp_path: Path) -> None:
    """The projection takes one byte per weight and stays int8 when read."""
    model = make_tiny_model()
    write_model(tmp_path / 'a.vpr', model)
    tensor = read_model(tmp_path / 'a.vpr').tensors['projection.weight']
    assert isinstance(tensor, QuantizedTensor)
    assert tensor.values.nbytes * 4 == model.float_tensor('projection.weight').nbytes


def test_the_descriptor_id_changes_with_anything_that_changes_descriptors() -> None:
    """Weights, precision and input size make another id; provenance does not."""
    model = make_tiny_model()
    ids = {model.descriptor_id, make_tiny_model(seed=4).descriptor_id,
           model.with_precision('fp32').descriptor_id,
           dataclasses.replace(model, preprocessing=dataclasses.replace(
               model.preprocessing, width=32)).descriptor_id}
    assert len(ids) == 4
    assert dataclasses.replace(model, provenance={}).descriptor_id == model.descriptor_id


def _with_header(data: bytes, change: Callable[[dict], None]) -> bytes:
    """Return the file with an edited header and a correct hash."""
    length = struct.unpack_from('<I', data, 12)[0]
    header = json.loads(data[16:16 + length])
    change(header)
    text = json.dumps(header).encode()
    body = data[:12] + struct.pack('<I', len(text)) + text + data[16 + length:-32]
    return body + hashlib.sha256(body).digest()


DAMAGES = {
    'empty': (lambda data: b'', 'is empty'),
    'first bytes only': (lambda data: data[:5], 'is truncated'),
    'cut in the middle': (lambda data: data[:-100], 'truncated or damaged'),
    'one bit': (lambda data: data[:900] + bytes([data[900] ^ 4]) + data[901:], 'damaged'),
    'another file': (lambda data: b'PK' + data[2:], 'is no .vpr model'),
    'text mode': (lambda data: data.replace(b'\r\n', b'\n'), 'is no .vpr model'),
    'future version': (lambda data: data[:8] + struct.pack('<I', 9) + data[12:], 'version 9'),
    'future coding': (lambda data: _with_header(
        data, lambda h: h['tensors'][0].update(coding='ans')), "'ans'"),
    'unknown option': (lambda data: _with_header(
        data, lambda h: h['spec'].update(tokens=3)), 'tokens'),
    'missing tensor': (lambda data: _with_header(
        data, lambda h: h['tensors'].pop()), 'projection.bias'),
    'outside': (lambda data: _with_header(
        data, lambda h: h['tensors'][0].update(data=[0, 10**9])), 'outside the payload'),
    'wrong shape': (lambda data: _with_header(
        data, lambda h: h['tensors'][1].update(shape=[4, 2])), 'shape'),
    'other id': (lambda data: _with_header(
        data, lambda h: h.update(descriptor_id='0' * 16)), 'do not belong'),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_no_damaged_file_is_ever_loaded_partly(
    damage: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    """Each damage is refused with its reason."""
    change, message = DAMAGES[damage]
    path = tmp_path / 'damaged.vpr'
    path.write_bytes(change(tiny_model_path.read_bytes()))
    with pytest.raises(ModelFileError, match=message):
        read_model(path)


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    """The message tells that the packaged model exists."""
    with pytest.raises(ModelFileError, match='packaged'):
        read_model(tmp_path / 'nowhere.vpr')


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """A model is only replaced when asked, and no temporary file stays behind."""
    path = tmp_path / 'model.vpr'
    write_model(path, make_tiny_model(1))
    with pytest.raises(ModelFileError, match='exists already'):
        write_model(path, make_tiny_model(2))
    assert read_model(path).descriptor_id == make_tiny_model(1).descriptor_id
    write_model(path, make_tiny_model(2), overwrite=True)
    assert [item.name for item in tmp_path.iterdir()] == ['model.vpr']


def test_nan_weights_are_refused_on_writing(tmp_path: Path) -> None:
    """A network that would give NaN descriptors never becomes a file."""
    model = make_tiny_model().with_precision('fp32')
    tensors = dict(model.tensors)
    tensors['projection.bias'] = np.full(16, np.nan, np.float32)
    with pytest.raises(ModelFileError, match='NaN'):
        write_model(tmp_path / 'm.vpr', dataclasses.replace(model, tensors=tensors))
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path) -> None:
    """The error names the file and the system's reason."""
    blocked = tmp_path / 'file'
    blocked.write_text('no folder')
    with pytest.raises(ModelFileError, match='cannot write'):
        write_model(blocked / 'model.vpr', make_tiny_model())
