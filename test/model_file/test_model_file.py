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
from dataclasses import asdict
import hashlib
import json
import os
from pathlib import Path
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.model_file.container import MAGIC
from vpr_compressed.model_file.entropy import encode
from vpr_compressed.model_file.model import default_model_path
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.report import file_report
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import quantize
from vpr_compressed.model_file.tensors import QuantizedTensor


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


def mixed_model(rng: np.random.Generator) -> Model:
    """Return the tiny model with every kind of tensor, activation ranges and references."""
    model = make_tiny_model().with_precision('fp32')
    tensors = dict(model.tensors)
    for name in ('stem.weight', 'netvlad.centers'):
        grid = quantize(model.float_tensor(name))
        tensors[name] = QuantizedTensor(
            (grid.values // 32 * 32).astype(np.int8), grid.scale * np.float32(1 / 3))
    for name in ('point.weight', 'netvlad.assignment.weight', 'projection.weight'):
        tensors[name] = CodebookTensor(
            rng.integers(0, 4, model.float_tensor(name).shape).astype(np.uint8),
            np.array([0.0, -0.75, 0.5, 1 / 3], np.float32))
    tensors['stem.bias'] = model.float_tensor('stem.bias').astype(np.float16)
    return dataclasses.replace(
        model, tensors=tensors, activations={
            'image': ActivationRange.from_extremes(-2.1, 2.6), 'sum': ActivationRange(0.1, 3)},
        reference=rng.standard_normal((4, 16)).astype(np.float16))


def test_version_2_keeps_every_kind_of_tensor(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Grids, codebooks, halves, activation ranges and reference descriptors, all exact."""
    model = mixed_model(rng)
    write_model(tmp_path / 'm.vpr', model)
    found = read_model(tmp_path / 'm.vpr')
    assert found.descriptor_id == model.descriptor_id
    assert found.activations == model.activations
    np.testing.assert_array_equal(found.reference, model.reference)
    for name, tensor in model.tensors.items():
        assert type(found.tensors[name]) is type(tensor)
        np.testing.assert_array_equal(found.float_tensor(name), model.float_tensor(name))
    assert found.float_tensor('projection.weight').dtype == np.float32
    assert found.tensors['stem.bias'].dtype == np.float16


def test_the_id_is_that_of_the_weights_and_not_of_their_coding(rng: np.random.Generator) -> None:
    """A codebook in another order is the same network; other activation ranges are not."""
    model = mixed_model(rng)
    tensor = model.tensors['projection.weight']
    order = np.array([2, 0, 3, 1])
    other = CodebookTensor(np.argsort(order).astype(np.uint8)[tensor.symbols],
                           tensor.codebook[order])
    turned = dataclasses.replace(model, tensors={**model.tensors, 'projection.weight': other})
    plain = dataclasses.replace(
        model, tensors={**model.tensors, 'projection.weight': tensor.dequantize()})
    assert turned.descriptor_id == plain.descriptor_id == model.descriptor_id
    ids = {model.descriptor_id, dataclasses.replace(model, activations={}).descriptor_id,
           dataclasses.replace(
               model, activations={**model.activations, 'sum': ActivationRange(0.1, 4)}
           ).descriptor_id}
    assert len(ids) == 3
    assert dataclasses.replace(model, reference=None).descriptor_id == model.descriptor_id


def write_version_1(path: Path, model: Model) -> None:
    """Write a file as the first released format had it."""
    payload = b''
    entries = []
    for name in model.spec.tensor_shapes():
        tensor = model.tensors[name]
        grid = isinstance(tensor, QuantizedTensor)
        parts = [tensor.values, tensor.scale] if grid else [tensor]
        entry = {'name': name, 'coding': 'raw', 'dtype': parts[0].dtype.name,
                 'shape': list(parts[0].shape)}
        for key, part in zip(('data', 'scale'), parts):
            payload += b'\0' * (-len(payload) % 64)
            entry[key] = [len(payload), part.nbytes]
            payload += part.tobytes()
        entries.append(entry)
    header = json.dumps({
        'format': 'vpr_compressed model', 'spec': asdict(model.spec),
        'preprocessing': asdict(model.preprocessing),
        'calibration': {'threshold': 0.655, 'slope': 18.5, 'offset': 0.463},
        'descriptor_id': model.descriptor_id, 'provenance': dict(model.provenance),
        'tensors': entries}).encode()
    header += b' ' * (-(16 + len(header)) % 64)
    body = MAGIC + struct.pack('<II', 1, len(header)) + header + payload
    path.write_bytes(body + hashlib.sha256(body).digest())


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_version_1_is_read_and_becomes_the_same_version_2(
    precision: str, tmp_path: Path
) -> None:
    """Same weights, same descriptor id."""
    model = make_tiny_model().with_precision(precision)
    write_version_1(tmp_path / 'old.vpr', model)
    old = read_model(tmp_path / 'old.vpr')
    write_model(tmp_path / 'new.vpr', old)
    new = read_model(tmp_path / 'new.vpr')
    assert (tmp_path / 'new.vpr').read_bytes()[8] == 2
    assert old.descriptor_id == new.descriptor_id == model.descriptor_id
    assert (old.activations, old.reference) == ({}, None)
    for name in model.spec.tensor_shapes():
        np.testing.assert_array_equal(new.float_tensor(name), model.float_tensor(name))
    assert new.provenance == model.provenance
    # The threshold on one image's similarity that these files hold is worth nothing any more.
    assert old.calibration == new.calibration == DecisionCalibration()


def test_curves_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Both, all of their numbers; they are no part of what a map must fit to."""
    default = make_tiny_model()
    walk = ConfidenceCurve(
        evidence=('a', 'b'), weights=(0.1, 1 / 3), intercept=-2.5, precisions=(0.5, 0.99),
        thresholds=(0.25, 0.875))
    model = dataclasses.replace(default, calibration=DecisionCalibration(
        walk=walk, single=dataclasses.replace(walk, intercept=1.0), fitted_on='site'))
    write_model(tmp_path / 'model.vpr', model)
    assert read_model(tmp_path / 'model.vpr').calibration == model.calibration
    assert model.descriptor_id == default.descriptor_id


def test_the_packaged_model_keeps_its_id_in_version_2(tmp_path: Path) -> None:
    """A map made with it stays valid when its file is written anew."""
    model = read_model(default_model_path())
    write_model(tmp_path / 'new.vpr', model)
    assert read_model(tmp_path / 'new.vpr').descriptor_id == model.descriptor_id


def pruned_model(rng: np.random.Generator, dimension: int = 256) -> Model:
    """Return a network like a compressed one: 90 per cent zeros, few levels, a small trunk."""
    layers = (
        Layer(name='a', op='conv', inputs=('image',), channels=192, kernel=8, stride=8),
        Layer(name='b', op='conv', inputs=('a',), channels=192, kernel=3, padding=1))
    spec = NetworkSpec(trunk='test', layers=layers, clusters=64, dimension=dimension)
    tensors = {}
    for name, shape in spec.tensor_shapes().items():
        if name.endswith('.bias'):
            tensors[name] = rng.standard_normal(shape).astype(np.float16)
            continue
        levels, zeros = (7, 0.9) if name.startswith('projection') else (63, 0.3)
        values = np.clip(np.rint(rng.laplace(0.0, levels / 5, shape)), -levels, levels)
        values[rng.random(shape) < zeros] = 0
        tensors[name] = QuantizedTensor(
            values.astype(np.int8), (rng.random(shape[0]) + 0.5).astype(np.float16).astype('f4'))
    return Model(spec=spec, preprocessing=PreprocessingSpec(width=64, height=48), tensors=tensors)


def test_a_compressed_file_is_within_5_percent_of_its_entropy(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """The whole file, header, biases, scales and hash included."""
    path = tmp_path / 'model.vpr'
    write_model(path, pruned_model(rng))
    report = file_report(path)
    assert report.file_bytes == path.stat().st_size
    assert report.symbol_bound_bytes < report.file_bytes <= 1.05 * report.symbol_bound_bytes
    assert report.file_bytes <= 1.02 * report.bound_bytes
    row = next(row for row in report.tensors if row.name == 'projection.weight')
    assert (row.coding, row.dtype, row.shape) == ('huffman', 'int8 grid', (256, 12288))
    assert row.distinct == 15
    assert row.zeros > 0.9
    assert row.stored_bytes >= row.bound_bytes
    assert report.tensor_bytes == sum(row.stored_bytes for row in report.tensors)
    bias = next(row for row in report.tensors if row.name == 'a.bias')
    assert (bias.coding, bias.dtype, bias.distinct) == ('raw', 'float16', None)


def test_reading_never_expands_the_large_matrix(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Beside the int8 weights it takes less than as much again, a float copy four times."""
    path = tmp_path / 'model.vpr'
    write_model(path, pruned_model(rng))
    tracemalloc.start()
    try:
        model = read_model(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    weights = sum(tensor.values.nbytes for tensor in model.tensors.values()
                  if isinstance(tensor, QuantizedTensor))
    assert peak < 2 * weights


@pytest.mark.parametrize('limit', [0, 100, 3000])
def test_a_full_disk_leaves_no_file(limit: int, tmp_path: Path) -> None:
    """A real limit on the size of files, in a process of its own."""
    code = (
        'import resource, sys\n'
        'from pathlib import Path\n'
        'from tiny_model import make_tiny_model\n'
        'from vpr_compressed.errors import ModelFileError\n'
        'from vpr_compressed.model_file.model import write_model\n'
        f'resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n'
        'try:\n'
        "    write_model(Path(sys.argv[1]), make_tiny_model().with_precision('fp32'))\n"
        'except ModelFileError as error:\n'
        '    sys.exit(str(error))\n')
    result = subprocess.run(
        [sys.executable, '-B', '-c', code, str(tmp_path / 'model.vpr')], capture_output=True,
        text=True, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])})
    assert 'cannot write' in result.stderr
    assert 'too large' in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC of the system itself: an unfinished file is a link to a device that is full."""
    if not Path('/dev/full').exists():
        pytest.skip('needs /dev/full')
    write = Path.write_bytes

    def write_to_full_device(path: Path, data: bytes) -> int:
        path.symlink_to('/dev/full')
        return write(path, data)

    monkeypatch.setattr(Path, 'write_bytes', write_to_full_device)


@pytest.mark.usefixtures('full_disk')
def test_no_space_left_leaves_no_file(tmp_path: Path) -> None:
    """The error says why."""
    with pytest.raises(ModelFileError, match=r'cannot write .*No space left'):
        write_model(tmp_path / 'model.vpr', make_tiny_model())
    assert not list(tmp_path.iterdir())


def test_an_existing_model_survives_a_full_disk(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Overwriting fails without touching the file that is there."""
    write_model(tmp_path / 'model.vpr', make_tiny_model(1))
    request.getfixturevalue('full_disk')
    with pytest.raises(ModelFileError, match='No space left'):
        write_model(tmp_path / 'model.vpr', make_tiny_model(2), overwrite=True)
    assert read_model(tmp_path / 'model.vpr').descriptor_id == make_tiny_model(1).descriptor_id


@pytest.mark.parametrize(('name', 'tensor', 'message'), [
    ('projection.weight', CodebookTensor(
        np.full((16, 32), 3, np.uint8), np.zeros(3, np.float32)), 'symbol 3 and a codebook'),
    ('projection.weight', CodebookTensor(
        np.zeros((16, 32), np.uint8), np.array([np.nan], np.float32)), 'NaN'),
    ('projection.weight', QuantizedTensor(
        np.zeros((16, 32), np.int8), np.ones(15, np.float32)), 'scales of shape'),
    ('projection.weight', QuantizedTensor(
        np.zeros((16, 32), np.int8), np.full(16, np.inf, np.float32)), 'infinity'),
])
def test_tensors_that_make_no_sense_are_refused_on_writing(
    name: str, tensor: CodebookTensor | QuantizedTensor, message: str, tmp_path: Path
) -> None:
    """The error names the tensor and what is wrong with it."""
    model = make_tiny_model()
    with pytest.raises(ModelFileError, match=f"'{name}' .*{message}"):
        write_model(tmp_path / 'm.vpr', dataclasses.replace(
            model, tensors={**model.tensors, name: tensor}))
    assert not list(tmp_path.iterdir())


def test_reference_descriptors_of_another_size_are_refused(tmp_path: Path) -> None:
    """They would make every check fail later."""
    model = dataclasses.replace(make_tiny_model(), reference=np.ones((4, 8), np.float16))
    with pytest.raises(ModelFileError, match='reference descriptors'):
        write_model(tmp_path / 'm.vpr', model)


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


def with_id(change: Callable[[dict], None]) -> Callable[[bytes], bytes]:
    """Return what edits the header of a file and gives it a correct hash again."""
    def changed(data: bytes) -> bytes:
        length = struct.unpack_from('<I', data, 12)[0]
        header = json.loads(zlib.decompressobj().decompress(data[16:16 + length]))
        change(header)
        return rebuilt(header, data[16 + length:-32])
    return changed


def rebuilt(header: object, payload: bytes) -> bytes:
    """Return a complete file."""
    text = zlib.compress(json.dumps(header).encode())
    text += b'\0' * (-len(text) % 4)
    body = MAGIC + struct.pack('<II', 2, len(text)) + text + payload
    return body + hashlib.sha256(body).digest()


def with_stream(data: bytes) -> bytes:
    """Return a file with a coded projection of too few symbols, everything else correct."""
    length = struct.unpack_from('<I', data, 12)[0]
    header = json.loads(zlib.decompressobj().decompress(data[16:16 + length]))
    entry = next(item for item in header['tensors'] if item['name'] == 'projection.weight')
    stream = encode(np.zeros(511, np.uint8))
    payload = data[16 + length:-32]
    entry |= {'coding': 'huffman', 'data': [len(payload), len(stream)]}
    return rebuilt(header, payload + stream)


DAMAGES = {
    'empty': (lambda data: b'', 'is empty'),
    'first bytes only': (lambda data: data[:5], 'is truncated'),
    'cut in the middle': (lambda data: data[:-100], 'truncated or damaged'),
    'one bit': (lambda data: data[:900] + bytes([data[900] ^ 4]) + data[901:], 'damaged'),
    'another file': (lambda data: b'PK' + data[2:], 'is no .vpr model'),
    'text mode': (lambda data: data.replace(b'\r\n', b'\n'), 'is no .vpr model'),
    'future version': (lambda data: data[:8] + struct.pack('<I', 9) + data[12:], 'version 9'),
    'future coding': (with_id(lambda h: h['tensors'][0].update(coding='ans')), "'ans'"),
    'future dtype': (with_id(lambda h: h['tensors'][0].update(dtype='int4')), 'int4'),
    'unknown option': (with_id(lambda h: h['spec'].update(tokens=3)), 'tokens'),
    'missing tensor': (with_id(lambda h: h['tensors'].pop()), 'projection.bias'),
    'outside': (with_id(
        lambda h: h['tensors'][0].update(data=[0, 10**9])), 'outside the payload'),
    'wrong shape': (with_id(lambda h: h['tensors'][1].update(shape=[4, 2])), 'shape'),
    'other id': (with_id(lambda h: h.update(descriptor_id='0' * 16)), 'do not belong'),
    'too few symbols': (with_stream, 'symbols are damaged: 511 of them'),
    'range of no layer': (with_id(
        lambda h: h.update(activations={'stemm': [0.1, 3]})), "'stemm', which is no layer"),
    'range of no size': (with_id(
        lambda h: h.update(activations={'stem': [0.0, 3]})), 'must be above 0'),
    'zero point outside': (with_id(
        lambda h: h.update(activations={'stem': [0.1, 256]})), 'zero point'),
    'header is no mapping': (lambda data: rebuilt([], b''), 'no readable header'),
    'header is empty': (lambda data: rebuilt({}, b''), 'spec'),
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


def test_every_truncation_and_bit_flip_is_refused(tiny_model_path: Path, tmp_path: Path) -> None:
    """Wherever it is: in the header, in coded symbols, in the hash."""
    data = tiny_model_path.read_bytes()
    path = tmp_path / 'damaged.vpr'
    damaged = [data[:length] for length in range(0, len(data), 7)]
    damaged += [data + b'\0']
    for place in range(0, len(data), 5):
        damaged.append(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1:])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ModelFileError):
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


def test_a_model_of_the_package_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name in the working folder comes first; anything else stays what it is."""
    monkeypatch.chdir(tmp_path)
    assert find_model() == default_model_path() == find_model(Path('default'))
    small = find_model(Path('small'))
    assert (small.parent, small.name) == (default_model_path().parent, 'small.vpr')
    for other in ('large', 'small.vpr', 'here/small'):
        assert find_model(Path(other)) == Path(other)
    (tmp_path / 'small').mkdir()  # as an --out of that name would leave
    assert find_model(Path('small')) == small
    (tmp_path / 'small').rmdir()
    (tmp_path / 'small').write_bytes(b'')
    assert find_model(Path('small')) == Path('small')
    with pytest.raises(ModelFileError, match=r'no model file at large; .*"small"'):
        read_model(Path('large'))
