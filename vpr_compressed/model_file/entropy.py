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
Store symbols in nearly as few bytes as their order-0 entropy, with the standard library alone.

The coder is zlib's Huffman coder (no string matching). Huffman codes spend at least one bit a
symbol, which is far too much where nine of ten symbols are equal, so symbols are split into
planes first, and several symbols of a plane share a byte: a plane of n symbols puts the largest
k with n ** k <= 256 of them into one. ``benchmarks/coders.py`` compares this with other coders.

A stream, little-endian::

    4 bytes         number of symbols (uint32)
    1 byte          form, see below
    1 byte          number n of distinct symbols, less one
    n bytes         the symbols, commonest first; planes hold their ranks in this list
    4 bytes a plane its length (uint32)
    planes          raw deflate streams

Forms: 0, one plane with all ranks. 1, a plane of bits (rank > 0, eight a byte, first one
highest) and the ranks above 0, less one. 2, the bytes of those bits split in the same way (bits
that say which byte is not 0, then the bytes that are not), and the ranks. The encoder tries all
three.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ModelFileError

Bytes = NDArray[np.uint8]

_HEAD = struct.Struct('<IBB')
#: Number of planes of each form.
_PLANES = (1, 2, 3)
#: Symbols put into place at a time; a multiple of 8.
_CHUNK = 1 << 16


def encode(symbols: Bytes) -> bytes:
    """
    Code symbols.

    :param symbols: uint8, one dimension
    :returns: the shortest of the three forms
    """
    counts = np.bincount(symbols, minlength=256)
    alphabet = np.argsort(-counts, kind='stable')[:max(1, np.count_nonzero(counts))]
    rank = np.zeros(256, np.uint8)
    rank[alphabet] = np.arange(len(alphabet))
    ranks = rank[symbols]
    present = ranks > 0
    bits = np.packbits(present)
    size = len(alphabet)
    rest = _deflate(_pack(ranks[present] - np.uint8(1), size - 1))
    forms = (
        [_deflate(_pack(ranks, size))],
        [_deflate(bits), rest],
        [_deflate(np.packbits(bits > 0)), _deflate(bits[bits > 0]), rest])
    form, planes = min(enumerate(forms), key=lambda item: sum(len(plane) for plane in item[1]))
    return b''.join((
        _HEAD.pack(symbols.size, form, size - 1), alphabet.astype(np.uint8).tobytes(),
        struct.pack(f'<{len(planes)}I', *(len(plane) for plane in planes)), *planes))


def decode(stream: memoryview | bytes, count: int) -> Bytes:
    """
    Return the symbols of a stream.

    Besides the result this takes one bit a symbol and one byte for each that is not the
    commonest.

    :param count: how many symbols there must be
    :returns: uint8 ``(count,)``
    :raises ModelFileError: if the stream does not hold exactly ``count`` symbols
    """
    form, alphabet, planes = _split(memoryview(stream), count)
    if form == 0:
        return _ranks(planes[0], alphabet, count)
    places = (count + 7) // 8
    if form == 1:
        bits = _inflate(planes[0], places)
    else:
        bits = np.zeros(places, np.uint8)
        marks = _inflate(planes[0], (places + 7) // 8)
        _check_padding(marks, places)
        used = np.unpackbits(marks, count=places).view(np.bool_)
        bits[used] = _inflate(planes[1], int(np.count_nonzero(used)))
    _check_padding(bits, count)
    ones = int.from_bytes(bits.tobytes(), 'little').bit_count()
    rest = _ranks(planes[-1], alphabet[1:], ones)
    result = np.full(count, alphabet[0], np.uint8)
    taken = 0
    for start in range(0, count, _CHUNK):
        part = result[start:start + _CHUNK]
        mask = np.unpackbits(bits[start // 8:(start + _CHUNK) // 8], count=len(part))
        found = int(np.count_nonzero(mask))
        part[mask.view(np.bool_)] = rest[taken:taken + found]
        taken += found
    return result


def _split(stream: memoryview, count: int) -> tuple[int, Bytes, list[memoryview]]:
    """Return form, alphabet and planes of a stream."""
    if len(stream) < _HEAD.size:
        raise ModelFileError(f'coded symbols are damaged: {len(stream)} bytes are too few')
    found, form, last = _HEAD.unpack_from(stream)
    if found != count or form >= len(_PLANES):
        raise ModelFileError(
            f'coded symbols are damaged: {found} of them in form {form}, expected {count}')
    start = _HEAD.size + last + 1
    alphabet = np.frombuffer(stream[_HEAD.size:start], np.uint8)
    lengths = struct.Struct(f'<{_PLANES[form]}I')
    ends = start + lengths.size
    if len(stream) < ends or len(stream) != ends + sum(lengths.unpack_from(stream, start)):
        raise ModelFileError(
            f'coded symbols are damaged: {len(stream)} bytes do not fit their planes')
    planes = []
    for length in lengths.unpack_from(stream, start):
        planes.append(stream[ends:ends + length])
        ends += length
    return form, alphabet, planes


def _ranks(plane: memoryview, alphabet: Bytes, count: int) -> Bytes:
    """Return the ``count`` symbols whose ranks a plane holds."""
    size = len(alphabet)
    each = _per_byte(size)
    if not each:
        if plane or (count and not size):
            raise ModelFileError(f'coded symbols are damaged: {count} of {size} distinct ones')
        return np.repeat(alphabet, count)
    # One row for each byte that may occur; a byte beyond them does not come from the encoder.
    powers = size ** np.arange(each)
    table = alphabet[np.arange(size ** each)[:, np.newaxis] // powers % size]       # (<= 256, k)
    packed = _inflate(plane, -(-count // each))
    highest = packed.max(initial=0)
    if highest >= len(table):
        raise ModelFileError(
            f'coded symbols are damaged: a byte is {highest}, must be < {len(table)}')
    return table[packed].reshape(-1)[:count]


def _per_byte(size: int) -> int:
    """Return how many of ``size`` distinct symbols go into one byte; 0 if they need none."""
    return max((k for k in range(1, 9) if size ** k <= 256), default=0) if size > 1 else 0


def _pack(ranks: Bytes, size: int) -> Bytes:
    """Return ranks below ``size`` with as many in each byte as fit, the first one lowest."""
    each = _per_byte(size)
    if each == 0:
        return ranks[:0]
    padded = np.concatenate((ranks, np.zeros(-len(ranks) % each, np.uint8))).reshape(-1, each)
    # Below size ** each <= 256, so no product or sum overflows.
    return padded @ (size ** np.arange(each)).astype(np.uint8)


def _deflate(values: Bytes) -> bytes:
    """Return the Huffman-coded bytes."""
    if not values.size:
        return b''
    coder = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(np.ascontiguousarray(values).data) + coder.flush()


def _inflate(plane: memoryview, size: int) -> Bytes:
    """
    Return the ``size`` bytes of a plane.

    :raises ModelFileError: if there are fewer or more
    """
    if size == 0 and not plane:
        return np.empty(0, np.uint8)
    coder = zlib.decompressobj(-15)
    try:
        # One byte more than may come is enough to notice that there are too many.
        found = coder.decompress(plane, size + 1)
    except zlib.error as error:
        raise ModelFileError(f'coded symbols are damaged: {error}') from error
    if len(found) != size or not coder.eof or coder.unused_data:
        raise ModelFileError(
            f'coded symbols are damaged: {len(plane)} bytes do not give exactly {size}')
    return np.frombuffer(found, np.uint8)


def _check_padding(bits: Bytes, count: int) -> None:
    """Refuse bits set behind the last of ``count``."""
    if count % 8 and bits[-1] & (0xFF >> count % 8):
        raise ModelFileError(f'coded symbols are damaged: there are more than {count}')
