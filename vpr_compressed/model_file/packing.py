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
Lay the tensors of a model out as bytes, and find them again.

Each tensor has an entry in the header: ``name``, ``shape``, ``dtype`` of its numbers, ``coding``
of its numbers and the sections ``[offset, bytes]`` of the payload that hold them. An int8 grid
has a section ``scale``, a codebook one ``codebook``; either is float32, or float16 where that is
exact. Codings: ``raw``, the numbers as they are, little-endian; ``huffman``, symbols as
:mod:`vpr_compressed.model_file.entropy` stores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.model_file import entropy
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.model_file.tensors import Tensor

RAW = 'raw'
HUFFMAN = 'huffman'
DTYPES: dict[str, np.dtype[Any]] = {
    'float32': np.dtype('<f4'), 'float16': np.dtype('<f2'), 'int8': np.dtype('i1'),
    'uint8': np.dtype('u1')}
#: Where a float array may start, so that it can be used in place.
_ALIGNMENT = 4
#: What a tensor is decoded to before it is hashed, at a time.
_HASHED = 1 << 20

Entry = dict[str, Any]


class Packer:
    """A payload in the making."""

    def __init__(self) -> None:
        self.payload = bytearray()

    def add(self, name: str, tensor: Tensor) -> Entry:
        """Append one tensor and return its entry."""
        if not isinstance(tensor, QuantizedTensor | CodebookTensor):
            return {'name': name, 'coding': RAW, 'dtype': tensor.dtype.name,
                    'shape': list(tensor.shape), 'data': self._floats(tensor)}
        symbols = numbers(tensor)
        flat = np.ascontiguousarray(symbols).reshape(-1).view(np.uint8)
        coded = entropy.encode(flat)
        shorter = len(coded) < flat.size
        entry = {'name': name, 'coding': HUFFMAN if shorter else RAW,
                 'dtype': symbols.dtype.name, 'shape': list(symbols.shape),
                 'data': self._bytes(coded if shorter else flat.tobytes())}
        key, table = ('scale', tensor.scale) if isinstance(tensor, QuantizedTensor) else (
            'codebook', tensor.codebook)
        with np.errstate(over='ignore'):  # what float16 cannot hold is not equal, that is all
            half = table.astype(np.float16)
        stored = half if np.array_equal(half, table) else table
        return entry | {key: self._floats(stored), f'{key}_dtype': stored.dtype.name}

    def _floats(self, values: NDArray[Any]) -> list[int]:
        """Append an array at a place where it can be used, and return its section."""
        self.payload += b'\0' * (-len(self.payload) % _ALIGNMENT)
        return self._bytes(np.ascontiguousarray(
            values, values.dtype.newbyteorder('<')).tobytes())

    def _bytes(self, data: bytes) -> list[int]:
        """Append bytes and return their section."""
        section = [len(self.payload), len(data)]
        self.payload += data
        return section


def unpack(entry: Mapping[str, Any], payload: memoryview) -> Tensor:
    """
    Return one tensor; what is stored raw is a view of the payload.

    :raises ModelFileError: if coded symbols are damaged
    :raises ValueError: if the entry is of a kind this version does not know
    """
    shape = tuple(entry['shape'])
    dtype = DTYPES[entry['dtype']]
    if entry['coding'] == RAW:
        values = _array(payload, entry['data'], dtype)
    elif entry['coding'] == HUFFMAN and dtype.itemsize == 1:
        values = entropy.decode(_section(payload, entry['data']), int(np.prod(shape))).view(dtype)
    else:
        raise ValueError(f'tensor coding {entry["coding"]!r} is not known')
    shaped: NDArray[Any] = values.reshape(shape)
    if dtype == np.int8:
        return QuantizedTensor(shaped, _table(entry, payload, 'scale'))
    if dtype == np.uint8:
        return CodebookTensor(shaped, _table(entry, payload, 'codebook'))
    return shaped


def stored_bytes(entry: Mapping[str, Any]) -> int:
    """Return the bytes of all sections of an entry."""
    return sum(entry[key][1] for key in ('data', 'scale', 'codebook') if key in entry)


def numbers(tensor: Tensor) -> NDArray[Any]:
    """Return the array that has the shape of the tensor."""
    if isinstance(tensor, QuantizedTensor):
        return tensor.values
    return tensor.symbols if isinstance(tensor, CodebookTensor) else tensor


def update_digest(digest: Any, tensor: Tensor) -> None:
    """
    Feed a hash with what a tensor means, however it is coded.

    :param digest: from hashlib; an int8 grid counts as its values and scales, a codebook as the
        float32 weights, whatever the order of its entries
    """
    if isinstance(tensor, CodebookTensor):
        flat = tensor.symbols.reshape(-1)
        for start in range(0, flat.size, _HASHED):
            digest.update(tensor.codebook[flat[start:start + _HASHED]].data)
        return
    for part in (tensor.values, tensor.scale) if isinstance(
            tensor, QuantizedTensor) else (tensor,):
        digest.update(np.ascontiguousarray(part).data)


def fault(tensor: Tensor, shape: tuple[int, ...]) -> str:
    """Return what is wrong with a tensor that must have a shape, '' if nothing is."""
    values = numbers(tensor)
    if values.shape != shape:
        return f'has shape {values.shape}, the network needs {shape}'
    tables: list[NDArray[Any]] = [values]
    if isinstance(tensor, QuantizedTensor):
        tables = [tensor.scale]
        if tensor.scale.shape != shape[:1]:
            return f'has scales of shape {tensor.scale.shape}, the network needs {shape[:1]}'
    elif isinstance(tensor, CodebookTensor):
        tables = [tensor.codebook]
        highest = int(values.max(initial=0))
        if tensor.codebook.ndim != 1 or not highest < len(tensor.codebook) <= 256:
            return (f'has symbol {highest} and a codebook of shape {tensor.codebook.shape}; the '
                    'codebook must have 1 to 256 values, one for each symbol')
    return '' if all(np.isfinite(table).all() for table in tables) else 'holds NaN or infinity'


def _table(entry: Mapping[str, Any], payload: memoryview, key: str) -> NDArray[np.float32]:
    """Return scales or a codebook as float32; version 1 does not say that they are."""
    dtype = DTYPES[entry.get(f'{key}_dtype', 'float32')]
    return _array(payload, entry[key], dtype).astype(np.float32, copy=False)


def _array(payload: memoryview, place: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a section as an array."""
    return np.frombuffer(_section(payload, place), dtype)


def _section(payload: memoryview, place: list[int]) -> memoryview:
    """Return the bytes at ``[offset, bytes]``."""
    offset, size = place
    if offset < 0 or size < 0 or offset + size > len(payload):
        raise ValueError(f'section {place} lies outside the payload of {len(payload)} bytes')
    return payload[offset:offset + size]
