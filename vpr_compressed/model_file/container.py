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
The bytes of a ``.vpr`` file: a shell that is complete and undamaged or refused, and tensors.

Layout, little-endian::

    8 bytes   magic  89 56 50 52 0D 0A 1A 0A   (broken by text-mode transfers, as in PNG)
    4 bytes   format version (uint32)
    4 bytes   length of the header (uint32)
    header    JSON
    payload   the numbers of the tensors
    32 bytes  SHA-256 of everything before it

Each tensor has an entry in the header: ``name``, ``shape``, ``dtype`` of its numbers, ``coding``
of its numbers and the sections ``[offset, bytes]`` of the payload that hold them. An int8 grid
has a section ``scale``, a codebook one ``codebook``; either is float32, or float16 where that is
exact. Codings: ``raw``, the numbers as they are, little-endian; ``huffman``, symbols as
:mod:`vpr_compressed.model_file.entropy` stores them.

Versions:

1. The header is plain UTF-8, padded with spaces so that the payload starts at a multiple of 64.
   Every tensor is ``raw``, at a multiple of 64: float32, float16, or int8 with float32 scales.
2. The header is zlib-compressed JSON, padded with zeros to a multiple of 4. Tensors on an int8
   grid and codebooks are ``huffman``, or raw where that is shorter. The header may hold
   ``activations`` and ``reference``.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
import struct
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file import entropy
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.model_file.tensors import Tensor
from vpr_compressed.system.files import write_whole

MAGIC = b'\x89VPR\r\n\x1a\n'
VERSION = 2
_PREFIX = struct.Struct('<8sII')
_HASH_BYTES = 32
#: Where the payload and a float array in it may start, so that it can be used in place.
_ALIGNMENT = 4
#: No header is longer; keeps a damaged one from filling the memory.
_LARGEST_HEADER = 1 << 26
RAW = 'raw'
HUFFMAN = 'huffman'
DTYPES: dict[str, np.dtype[Any]] = {
    'float32': np.dtype('<f4'), 'float16': np.dtype('<f2'), 'int8': np.dtype('i1'),
    'uint8': np.dtype('u1')}
#: What a tensor is decoded to before it is hashed, at a time.
_HASHED = 1 << 20

Entry = dict[str, Any]


def write_container(
    path: Path, header: Mapping[str, Any], payload: bytes | bytearray, *, overwrite: bool = False
) -> None:
    """
    Write one file; it appears under its name only when it is complete.

    :param header: what JSON can hold
    :raises ModelFileError: if ``path`` exists, or cannot be written
    """
    text = zlib.compress(canonical_json(header), 9)
    text += b'\0' * (-(_PREFIX.size + len(text)) % _ALIGNMENT)
    data = bytearray(_PREFIX.pack(MAGIC, VERSION, len(text)) + text)
    data += payload
    data += hashlib.sha256(data).digest()
    try:
        write_whole(path, data, overwrite=overwrite)
    except FileExistsError as error:
        raise ModelFileError(
            f'{path} exists already; choose another name or remove it first') from error
    except OSError as error:
        raise ModelFileError(f'cannot write {path}: {error.strerror}') from error


def read_container(path: Path) -> tuple[dict[str, Any], memoryview]:
    """
    Read one file and check magic, version, length and hash.

    :returns: header and payload
    :raises ModelFileError: missing, not a model, truncated, damaged, or of a newer version
    """
    data = _read_bytes(path)
    if len(data) < _PREFIX.size + _HASH_BYTES or not data.startswith(MAGIC):
        what = 'is empty' if not data else 'is no .vpr model (wrong first bytes)'
        if data.startswith(MAGIC[:len(data)]) and data:
            what = 'is truncated'
        raise ModelFileError(f'{path} {what}; expected a file written by vpr_compressed')
    _, version, length = _PREFIX.unpack_from(data)
    if not 1 <= version <= VERSION:
        raise ModelFileError(
            f'{path} has format version {version}, this build reads 1 to {VERSION}; update '
            'vpr_compressed or export the model again')
    if hashlib.sha256(memoryview(data)[:-_HASH_BYTES]).digest() != data[-_HASH_BYTES:]:
        raise ModelFileError(
            f'{path} is truncated or damaged (SHA-256 differs, {len(data)} bytes); copy it again')
    start = _PREFIX.size + length
    header = _parse(data[_PREFIX.size:start], version, path)
    return header, memoryview(data)[start:-_HASH_BYTES]


def canonical_json(value: object) -> bytes:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(',', ':')).encode()


def _read_bytes(path: Path) -> bytes:
    """Return the file's bytes or say how to get one."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(
            f'no model file at {path}; give the path of a .vpr file, "small" for the smaller '
            'packaged one, or leave the model out to use the default') from error
    except OSError as error:
        raise ModelFileError(f'cannot read model file {path}: {error.strerror}') from error


def _parse(text: bytes, version: int, path: Path) -> dict[str, Any]:
    """Return the header."""
    try:
        if version > 1:
            text = zlib.decompressobj().decompress(text, _LARGEST_HEADER)
        header = json.loads(text)
    except (ValueError, zlib.error) as error:
        raise ModelFileError(f'{path} has no readable header: {error}') from error
    if not isinstance(header, dict):
        raise ModelFileError(f'{path} has no readable header: it is no mapping')
    return header


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
        values = np.frombuffer(_section(payload, entry['data']), dtype)
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
    return np.frombuffer(_section(payload, entry[key]), dtype).astype(np.float32, copy=False)


def _section(payload: memoryview, place: list[int]) -> memoryview:
    """Return the bytes at ``[offset, bytes]``."""
    offset, size = place
    if offset < 0 or size < 0 or offset + size > len(payload):
        raise ValueError(f'section {place} lies outside the payload of {len(payload)} bytes')
    return payload[offset:offset + size]
