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
The outer shell of a ``.vpr`` file: complete and undamaged, or refused with the reason.

Layout, little-endian::

    8 bytes   magic  89 56 50 52 0D 0A 1A 0A   (broken by text-mode transfers, as in PNG)
    4 bytes   format version (uint32)
    4 bytes   length of the header (uint32)
    header    JSON
    payload   the tensors, as :mod:`vpr_compressed.model_file.packing` lays them out
    32 bytes  SHA-256 of everything before it

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

from vpr_compressed.errors import ModelFileError
from vpr_compressed.system.files import write_whole

MAGIC = b'\x89VPR\r\n\x1a\n'
VERSION = 2
_PREFIX = struct.Struct('<8sII')
_HASH_BYTES = 32
_ALIGNMENT = 4
#: No header is longer; keeps a damaged one from filling the memory.
_LARGEST_HEADER = 1 << 26


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
