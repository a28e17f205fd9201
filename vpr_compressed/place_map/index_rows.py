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
Rows of descriptors in memory, as half-precision values or as sign bits; knows no ids.

Plain NumPy. ``index`` puts ids, removal and FAISS on top.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.records import DescriptorArray

IdArray = NDArray[np.int64]
#: Return at least the ``count`` nearest rows of ``codes`` with their Hamming distances to
#: ``code``, in any order.
Scan = Callable[[NDArray[np.uint8], NDArray[np.uint8], int], tuple[IdArray, NDArray[np.int64]]]
#: Rows worked on at a time, so that temporary arrays stay small.
BLOCK = 2048


class GrowingRows:
    """An array that grows at its end by an eighth, so memory stays close to its content."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, room: int = 0) -> None:
        self._array: NDArray[Any] = np.empty((room, *shape), dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """Return the rows; writing into them changes them."""
        return self._array[:self._size]

    @property
    def nbytes(self) -> int:
        """Return the bytes allocated."""
        return self._array.nbytes

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows at the end."""
        size = self._size + len(rows)
        if size > len(self._array):
            grown = np.empty((size + size // 8 + 16, *self._array.shape[1:]), self._array.dtype)
            grown[:self._size] = self.values
            self._array = grown
        self._array[self._size:size] = rows
        self._size = size

    def keep(self, alive: NDArray[np.bool_]) -> None:
        """Keep some rows."""
        self._array = self.values[alive]
        self._size = len(self._array)


class NumpyHalfRows(GrowingRows):
    """Half-precision rows in one array, for systems without FAISS."""

    def __init__(self, dimension: int) -> None:
        super().__init__((dimension,), np.float16)

    def nearest(
        self, query: DescriptorArray, count: int
    ) -> tuple[IdArray, NDArray[np.float32]]:
        """Return the rows of the largest inner products, and these."""
        rows = self.values
        products = np.concatenate([
            rows[start:start + BLOCK].astype(np.float32) @ query
            for start in range(0, len(rows), BLOCK)])
        best = np.argsort(-products, kind='stable')[:count].astype(np.int64)
        return best, products[best]


class SignRows(GrowingRows):
    """
    One bit per value, of rotated descriptors, in whole words of 64 bits.

    :param dimension: values per descriptor
    :param scan: finds the nearest codes, ``scan_codes`` or something faster
    :param room: rows to make room for at once
    """

    def __init__(self, dimension: int, scan: Scan, room: int = 0) -> None:
        self._bits = -(-dimension // 64) * 64
        super().__init__((self._bits // 8,), np.uint8, room)
        self._scan = scan
        padded = 1 << max(3, (self._bits - 1).bit_length())
        self._flips = signs(2 * padded).reshape(2, padded)

    def append(self, rows: DescriptorArray) -> None:
        """Add float32 rows."""
        for start in range(0, len(rows), BLOCK):
            super().append(self._codes(rows[start:start + BLOCK]))

    def nearest(self, query: DescriptorArray, count: int) -> IdArray:
        """Return the ``count`` rows of the smallest Hamming distance; ties by row."""
        code = self._codes(query[np.newaxis])[0]
        rows, distances = self._scan(self.values, code, min(2 * count, len(self)))
        cut = np.partition(distances, count - 1)[count - 1]
        if rows.size < len(self) and distances.max() <= cut:
            # more rows than fetched share the last distance: which ones came is up to FAISS
            rows, distances = scan_codes(self.values, code, count)
        near = distances <= cut
        rows, distances = rows[near], distances[near]
        nearest: IdArray = rows[np.lexsort((rows, distances))[:count]]
        return nearest

    def scores(self, rows: IdArray, query: DescriptorArray) -> NDArray[np.float32]:
        """Return the query's values summed over the set bits: finer than Hamming distance."""
        bits = np.unpackbits(self.values[rows], axis=1).astype(np.float32)
        return cosines(bits, self._rotate(query[np.newaxis])[0])

    def _codes(self, rows: DescriptorArray) -> NDArray[np.uint8]:
        """Return the sign bits of rows after rotation, packed, ``(M, bits / 8)``."""
        return np.packbits(self._rotate(rows) > 0, axis=1)

    def _rotate(self, rows: DescriptorArray) -> DescriptorArray:
        """Return rows after two rounds of sign flips and Hadamard transform, ``(M, bits)``."""
        mixed = np.zeros((len(rows), self._flips.shape[1]), np.float32)
        mixed[:, :rows.shape[1]] = rows
        for flips in self._flips:
            mixed = hadamard(mixed * flips)
        return mixed[:, :self._bits]


def signs(count: int) -> DescriptorArray:
    """
    Return -1 and 1 in a fixed order that looks random, ``(count,)``.

    From the top bits of SplitMix64 (Steele, Lea and Flood 2014). NumPy's generators would do,
    but importing them brings OpenSSL into the process: 7 MB on a robot.
    """
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return np.where(state >> np.uint64(63), 1.0, -1.0).astype(np.float32)


def hadamard(rows: DescriptorArray) -> DescriptorArray:
    """
    Return the orthonormal Walsh-Hadamard transform of each row, length a power of two.

    The matrix is the Kronecker product of two small ones: two products with them are done in a
    tenth of the time of the butterfly in NumPy. The outputs come in another, fixed order.
    """
    count, size = rows.shape
    one = 1 << (size.bit_length() // 2)
    other = size // one
    half_way = rows.reshape(count * one, other) @ _hadamard_matrix(other)
    turned = half_way.reshape(count, one, other).transpose(0, 2, 1).reshape(count * other, one)
    return np.asarray(turned @ _hadamard_matrix(one)).reshape(count, size)


@lru_cache(maxsize=8)
def _hadamard_matrix(size: int) -> DescriptorArray:
    """Return the orthonormal Hadamard matrix, symmetric, ``(size, size)``."""
    parity = np.array([[(i & j).bit_count() % 2 for j in range(size)] for i in range(size)])
    return np.asarray((1 - 2 * parity) / np.sqrt(size), np.float32)


def hamming(codes: NDArray[np.uint8], code: NDArray[np.uint8]) -> NDArray[np.int64]:
    """
    Return the number of bits in which each row differs from one code, ``(M,)``.

    :param codes: contiguous, ``(M, B)``; eight times faster when B is a multiple of 8
    :param code: ``(B,)``
    """
    word = np.uint64 if _NUMPY_COUNTS and codes.shape[1] % 8 == 0 else np.uint8
    different = codes.view(word) ^ code.view(word)
    counts = np.bitwise_count(different) if _NUMPY_COUNTS else _BIT_COUNTS[different]
    # A product with ones adds small integers exactly, and much faster than NumPy's sum does.
    sums = counts.astype(np.float32) @ np.ones(counts.shape[1], np.float32)
    distances: NDArray[np.int64] = sums.astype(np.int64)
    return distances


_NUMPY_COUNTS = hasattr(np, 'bitwise_count')  # since NumPy 2
_BIT_COUNTS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).sum(
    axis=1, dtype=np.uint8)


def cosines(rows: DescriptorArray, query: DescriptorArray) -> NDArray[np.float32]:
    """Return inner products; row by row, so a value does not depend on its neighbours."""
    products: NDArray[np.float32] = np.einsum('md,d->m', rows, query)
    return products


def scan_codes(
    codes: NDArray[np.uint8], code: NDArray[np.uint8], count: int  # noqa: ARG001  (a Scan)
) -> tuple[IdArray, NDArray[np.int64]]:
    """Return all rows with their distances: the scan that needs nothing but NumPy."""
    distances = hamming(codes, code)
    return np.arange(distances.size, dtype=np.int64), distances
