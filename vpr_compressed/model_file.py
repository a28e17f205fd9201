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
Read and write ``.vpr`` model files; needs neither torch nor an inference engine.

Layout, little-endian::

    8 bytes   magic  89 56 50 52 0D 0A 1A 0A   (broken by text-mode transfers, as in PNG)
    4 bytes   format version (uint32)
    4 bytes   length of the header (uint32)
    header    UTF-8 JSON, padded with spaces so that the payload starts at a multiple of 64
    payload   the tensors, each at a multiple of 64 from the start of the payload
    32 bytes  SHA-256 of everything before it

Versions:

1. Every tensor is stored as it is (``coding: raw``) in float32, float16, or int8 with one
   float32 scale per output channel (``value = scale * q``). The per-tensor ``coding`` field
   leaves room for entropy-coded symbols; a reader refuses a coding it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import dataclasses
from dataclasses import dataclass
from dataclasses import field
import hashlib
import json
import os
from pathlib import Path
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.calibration import SimilarityCalibration
from vpr_compressed.errors import ModelFileError
from vpr_compressed.errors import VprError
from vpr_compressed.model.spec import NetworkSpec
from vpr_compressed.preprocessing import PreprocessingSpec
from vpr_compressed.tensors import ActivationRange
from vpr_compressed.tensors import CodebookTensor
from vpr_compressed.tensors import quantize
from vpr_compressed.tensors import QuantizedTensor
from vpr_compressed.tensors import Tensor

MAGIC = b'\x89VPR\r\n\x1a\n'
VERSION = 1
ALIGNMENT = 64
_PREFIX = struct.Struct('<8sII')
_HASH_BYTES = 32
_DTYPES: dict[str, np.dtype[Any]] = {
    'float32': np.dtype('<f4'), 'float16': np.dtype('<f2'), 'int8': np.dtype('i1')}
PRECISIONS = ('fp32', 'fp16', 'int8')


@dataclass(frozen=True, kw_only=True)
class Model:
    """
    A network with its weights, as stored in one file.

    :param tensors: name -> weights; names and shapes are those of the specification
    :param calibration: how similarities of this model turn into decisions
    :param provenance: where it comes from: data, command, licence, measured accuracy
    :param activations: name of a layer, or ``image`` for the network input -> range in which
        its output is quantised; empty for float activations
    :param reference: descriptors of the reference images of ``runtime.parity``, float16
        ``(n, D)``; None if nobody has computed them
    """

    spec: NetworkSpec
    preprocessing: PreprocessingSpec
    tensors: Mapping[str, Tensor]
    calibration: SimilarityCalibration = field(default_factory=SimilarityCalibration)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    activations: Mapping[str, ActivationRange] = field(default_factory=dict)
    reference: NDArray[np.float16] | None = None

    @property
    def descriptor_id(self) -> str:
        """Sixteen hex digits; two models with equal ids give comparable descriptors."""
        digest = hashlib.sha256(_canonical(
            {'spec': self.spec.to_json(), 'preprocessing': self.preprocessing.to_json()}))
        for name in self.spec.tensor_shapes():
            tensor = self.tensors[name]
            for part in _parts(tensor):
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()[:16]

    @property
    def precision(self) -> str:
        """One of ``fp32``, ``fp16``, ``int8``, ``codebook``: the storage of the largest tensor."""
        tensor = self.tensors['projection.weight']
        if isinstance(tensor, QuantizedTensor):
            return 'int8'
        if isinstance(tensor, CodebookTensor):
            return 'codebook'
        return 'fp16' if tensor.dtype == np.float16 else 'fp32'

    def float_tensor(self, name: str) -> NDArray[np.float32]:
        """Return one tensor as float32."""
        tensor = self.tensors[name]
        if isinstance(tensor, QuantizedTensor | CodebookTensor):
            return tensor.dequantize()
        return np.asarray(tensor, np.float32)

    def with_precision(self, precision: str) -> Model:
        """
        Return the model with its weights stored as ``fp32``, ``fp16`` or ``int8``.

        ``int8`` rounds the projection, 97 % of the weights, and keeps the trunk in fp16:
        rounding the trunk after training snaps its weights back to where they were before
        (docs/decisions.md). Biases and the cluster assignment stay float32 in all of them.

        :raises ModelFileError: for an unknown precision
        """
        if precision not in PRECISIONS:
            raise ModelFileError(
                f'unknown precision {precision!r}; one of {", ".join(PRECISIONS)}')
        tensors: dict[str, Tensor] = {}
        for name in self.spec.tensor_shapes():
            values = self.float_tensor(name)
            if precision == 'fp32' or not _is_compressible(name):
                tensors[name] = values
            elif precision == 'int8' and name == 'projection.weight':
                tensors[name] = quantize(values)
            else:
                tensors[name] = values.astype(np.float16)
        return dataclasses.replace(self, tensors=tensors, reference=None)


def default_model_path() -> Path:
    """Return the path of the model that lies in the package."""
    return Path(__file__).resolve().parent / 'models' / 'default.vpr'


def write_model(path: Path, model: Model, *, overwrite: bool = False) -> None:
    """
    Write one model file; it appears under its name only when it is complete.

    :raises ModelFileError: if ``path`` exists, or cannot be written
    """
    if path.exists() and not overwrite:
        raise ModelFileError(f'{path} exists already; choose another name or remove it first')
    _check_tensors(model, path)
    entries, payload = _pack(model)
    header = _canonical({
        'format': 'vpr_compressed model', 'spec': model.spec.to_json(),
        'preprocessing': model.preprocessing.to_json(), 'calibration': model.calibration.to_json(),
        'descriptor_id': model.descriptor_id, 'provenance': dict(model.provenance),
        'tensors': entries})
    header += b' ' * (-(_PREFIX.size + len(header)) % ALIGNMENT)
    data = _PREFIX.pack(MAGIC, VERSION, len(header)) + header + payload
    part = path.with_name(f'{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open('wb') as stream:
            stream.write(data)
            stream.write(hashlib.sha256(data).digest())
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ModelFileError(f'cannot write {path}: {error.strerror}') from error


def read_model(path: Path) -> Model:
    """
    Read one model file and check all of it before anything is used.

    :returns: the model; its tensors are read-only views of one buffer
    :raises ModelFileError: missing, not a model, truncated, damaged, or of a newer version
    """
    data = _read_bytes(path)
    header, payload = _split(data, path)
    try:
        spec = NetworkSpec.from_json(header['spec'])
        model = Model(
            spec=spec, preprocessing=PreprocessingSpec.from_json(header['preprocessing']),
            tensors={entry['name']: _unpack(entry, payload) for entry in header['tensors']},
            calibration=SimilarityCalibration.from_json(header['calibration']),
            provenance=header['provenance'])
        stored_id = header['descriptor_id']
    except (KeyError, TypeError, ValueError, VprError) as error:
        raise ModelFileError(
            f'{path} has a header this version cannot use ({error!r}); it was probably written '
            'by a newer version: update vpr_compressed or export the model again') from error
    _check_tensors(model, path)
    if model.descriptor_id != stored_id:
        raise ModelFileError(f'{path}: weights do not belong to descriptor {stored_id}')
    return model


def _read_bytes(path: Path) -> bytes:
    """Return the file's bytes or say how to get one."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(
            f'no model file at {path}; give the path of a .vpr file, or leave the model out to '
            'use the packaged one') from error
    except OSError as error:
        raise ModelFileError(f'cannot read model file {path}: {error.strerror}') from error


def _split(data: bytes, path: Path) -> tuple[dict[str, Any], memoryview]:
    """Check magic, version, length and hash; return header and payload."""
    if len(data) < _PREFIX.size + _HASH_BYTES or not data.startswith(MAGIC):
        what = 'is empty' if not data else 'is no .vpr model (wrong first bytes)'
        if data.startswith(MAGIC[:len(data)]) and data:
            what = 'is truncated'
        raise ModelFileError(f'{path} {what}; expected a file written by vpr_compressed')
    _, version, length = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise ModelFileError(
            f'{path} has format version {version}, this build reads {VERSION}; update '
            'vpr_compressed or export the model again')
    if hashlib.sha256(memoryview(data)[:-_HASH_BYTES]).digest() != data[-_HASH_BYTES:]:
        raise ModelFileError(
            f'{path} is truncated or damaged (SHA-256 differs, {len(data)} bytes); copy it again')
    start = _PREFIX.size + length
    header = json.loads(data[_PREFIX.size:start])
    return header, memoryview(data)[start:-_HASH_BYTES]


def _canonical(value: object) -> bytes:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(',', ':')).encode()


def _is_compressible(name: str) -> bool:
    """Tell whether a tensor may lose precision."""
    return name.endswith('.weight') and not name.startswith('netvlad.')


def _parts(tensor: Tensor) -> list[NDArray[Any]]:
    """Return the arrays a tensor is stored as."""
    if isinstance(tensor, QuantizedTensor):
        return [tensor.values, tensor.scale]
    return [tensor]


def _pack(model: Model) -> tuple[list[dict[str, Any]], bytes]:
    """Return the tensor table and the payload it describes."""
    payload = bytearray()
    entries = []
    for name in model.spec.tensor_shapes():
        sections = []
        parts = _parts(model.tensors[name])
        for part in parts:
            payload += b'\0' * (-len(payload) % ALIGNMENT)
            stored = np.ascontiguousarray(part, part.dtype.newbyteorder('<'))
            sections.append([len(payload), stored.nbytes])
            payload += stored.tobytes()
        entry = {'name': name, 'coding': 'raw', 'dtype': str(np.dtype(parts[0].dtype).name),
                 'shape': list(parts[0].shape), 'data': sections[0]}
        if len(sections) > 1:
            entry['scale'] = sections[1]
        entries.append(entry)
    return entries, bytes(payload)


def _unpack(entry: Mapping[str, Any], payload: memoryview) -> Tensor:
    """Return one tensor as a view of the payload."""
    if entry['coding'] != 'raw':
        raise ValueError(f'tensor coding {entry["coding"]!r} is not known')
    values = _section(payload, entry['data'], _DTYPES[entry['dtype']])
    shaped: NDArray[Any] = values.reshape(entry['shape'])
    if entry['dtype'] == 'int8':
        return QuantizedTensor(shaped, _section(payload, entry['scale'], _DTYPES['float32']))
    return shaped


def _section(payload: memoryview, place: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the array stored at ``[offset, bytes]``."""
    offset, size = place
    if offset < 0 or size < 0 or offset + size > len(payload):
        raise ValueError(f'section {place} lies outside the payload of {len(payload)} bytes')
    return np.frombuffer(payload[offset:offset + size], dtype)


def _check_tensors(model: Model, path: Path) -> None:
    """Raise unless names, shapes and values are those of the specification."""
    wanted = model.spec.tensor_shapes()
    if set(wanted) != set(model.tensors):
        wrong = sorted(set(wanted) ^ set(model.tensors))
        raise ModelFileError(f'{path}: tensors do not fit the network, see {", ".join(wrong)}')
    for name, shape in wanted.items():
        parts = _parts(model.tensors[name])
        if parts[0].shape != shape or (len(parts) > 1 and parts[1].shape != shape[:1]):
            raise ModelFileError(
                f'{path}: tensor {name!r} has shape {parts[0].shape}, the network needs {shape}')
        if not all(np.isfinite(part).all() for part in parts if part.dtype != np.int8):
            raise ModelFileError(f'{path}: tensor {name!r} holds NaN or infinity')
