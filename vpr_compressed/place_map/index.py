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
Nearest places by cosine; the only module that uses FAISS.

``exact`` scans half-precision descriptors (2 bytes per value, FAISS) and compares the best with
the stored ones, with a margin that makes the answer that of a full comparison. ``compact`` keeps
one sign bit per value: descriptors are rotated first (sign flips and Hadamard transforms, which
spread the strong leading dimensions of a whitened descriptor over all bits), the nearest by
Hamming distance are ranked by the query against the bits, and the best few hundred are compared
with the stored descriptors, which the owner fetches. ``auto`` starts exact, becomes compact.

FAISS ids shift on removal, duplicates and NaN are accepted silently: so rows have an own id
array, from which the same rows are removed. Answers do not depend on whether FAISS is installed;
equal similarities are ordered by id.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ConfigError
from vpr_compressed.place_map.index_rows import BLOCK
from vpr_compressed.place_map.index_rows import cosines
from vpr_compressed.place_map.index_rows import GrowingRows
from vpr_compressed.place_map.index_rows import IdArray
from vpr_compressed.place_map.index_rows import NumpyHalfRows
from vpr_compressed.place_map.index_rows import scan_codes
from vpr_compressed.place_map.index_rows import SignRows
from vpr_compressed.records import DescriptorArray

#: Return the unit descriptors ``(M, D)`` of the given ids, in their order.
Fetch = Callable[[IdArray], DescriptorArray]

KINDS = ('auto', 'exact', 'compact')
#: Places above which ``auto`` becomes compact: exact search takes 5 MB there, and no less time.
COMPACT_ABOVE = 5_000
#: Places taken by Hamming distance, and of these compared with the stored descriptors.
SHORTLIST = 1600
RERANK = 300
#: Up to this many places half of both is as good, and NumPy's scan is faster than FAISS's.
SMALL_MAP = 50_000
#: Half precision changes a cosine by at most 2 ** -11, summation order by far less.
ROUNDING = 2.0 ** -11 + 1e-5
_NO_IDS: IdArray = np.empty(0, np.int64)


@lru_cache(maxsize=1)
def _faiss() -> Any:
    """Return the library, or None; imported when it is needed, for it takes 15 MB of memory."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def faiss_available() -> bool:
    """Return whether FAISS can do the scanning; imports it."""
    return _faiss() is not None


class PlaceIndex:
    """
    Search over unit descriptors with stable ids; not locked, the owner does that.

    :param dimension: values per descriptor
    :param kind: one of ``KINDS``
    :param fetch: gives stored descriptors by id, to compare the best ones with
    :param expected: places about to be added, so that ``auto`` starts with the right kind
    :param use_faiss: False forces the NumPy scan; None takes FAISS where installed
    :raises ConfigError: for an unknown kind
    """

    def __init__(
        self, dimension: int, kind: str = 'auto', *, fetch: Fetch, expected: int = 0,
        use_faiss: bool | None = None
    ) -> None:
        if kind not in KINDS:
            raise ConfigError(f'index kind is {kind!r}; choose one of {", ".join(KINDS)}')
        self.dimension = dimension
        self._auto = kind == 'auto'
        self._fetch = fetch
        self._use_faiss = use_faiss
        self._ids = GrowingRows((), np.int64, expected)
        compact = kind == 'compact' or (self._auto and expected > COMPACT_ABOVE)
        self._rows: HalfRows | SignRows = (
            self._new_signs(expected) if compact else self._new_halves())

    def __len__(self) -> int:
        """Return the number of places that can be found."""
        return len(self._ids)

    @property
    def ids(self) -> IdArray:
        """Return the ids that can be found, in the order they were added; read only."""
        return self._ids.values

    @property
    def kind(self) -> str:
        """Return ``exact`` or ``compact``, as it is now."""
        return 'compact' if isinstance(self._rows, SignRows) else 'exact'

    @property
    def nbytes(self) -> int:
        """Return the bytes of memory the rows take, room for growth included."""
        return self._ids.nbytes + self._rows.nbytes

    def add(self, ids: IdArray, descriptors: DescriptorArray) -> None:
        """
        Add places.

        :param ids: new ids >= 0, ``(M,)``
        :param descriptors: unit float32, ``(M, D)``
        :raises ValueError: for ids in use, wrong shapes, or values that are not finite
        """
        new_ids = np.asarray(ids, np.int64).reshape(-1)
        rows = np.ascontiguousarray(descriptors, np.float32)
        if rows.shape != (new_ids.size, self.dimension):
            raise ValueError(
                f'{new_ids.size} ids need descriptors of shape {(new_ids.size, self.dimension)}, '
                f'got {rows.shape}')
        if not np.isfinite(rows).all():
            raise ValueError('descriptors hold values that are not finite')
        self._check_new(new_ids)
        self._rows.append(rows)
        self._ids.append(new_ids)
        if self._auto and self.kind == 'exact' and len(self) > COMPACT_ABOVE:
            self._become_compact()

    def remove(self, ids: IdArray) -> int:
        """Remove places; ids that are not there are ignored. Return how many were removed."""
        before, kept = len(self), ~np.isin(self._ids.values, np.asarray(ids, np.int64))
        self._rows.keep(kept)
        self._ids.keep(kept)
        return before - len(self)

    def search(
        self, descriptor: DescriptorArray, k: int, skip: IdArray | None = None
    ) -> list[tuple[int, float]]:
        """
        Return the ``min(k, places)`` most similar places as (id, cosine), best first.

        :param descriptor: unit float32, ``(D,)``
        :param k: places wanted
        :param skip: ids that must not be returned
        :raises ValueError: for a wrong shape or values that are not finite
        """
        query = np.ascontiguousarray(descriptor, np.float32)
        if query.shape != (self.dimension,) or not np.isfinite(query).all():
            raise ValueError(
                f'query of shape {query.shape} must be finite and of shape ({self.dimension},)')
        if k < 1 or len(self) == 0:
            return []
        skipped = _NO_IDS if skip is None else np.asarray(skip, np.int64)
        if isinstance(self._rows, SignRows):
            return self._search_compact(self._rows, query, k, skipped)
        return self._search_exact(self._rows, query, k, skipped)

    def _search_exact(
        self, halves: HalfRows, query: DescriptorArray, k: int, skipped: IdArray
    ) -> list[tuple[int, float]]:
        """Scan all rows; take more until neither skipped rows nor rounding hide an answer."""
        total, count = len(self), k + 8
        while True:
            # the most similar are often those just seen, which are skipped
            rows, rough = halves.nearest(query, min(count + skipped.size, total))
            kept = np.flatnonzero(~np.isin(self._ids.values[rows], skipped))[:count]
            rows, rough = rows[kept], rough[kept]
            best = self._compare(rows, query, k)
            settled = len(best) == k and float(rough[-1]) + ROUNDING < best[-1][1]
            if settled or count >= total:
                return best
            count *= 4

    def _search_compact(
        self, signs: SignRows, query: DescriptorArray, k: int, skipped: IdArray
    ) -> list[tuple[int, float]]:
        """Take a short list by Hamming distance, rank it by the bits, compare the best."""
        total = len(self)
        part = 2 if total <= SMALL_MAP else 1
        wanted, compared = max(SHORTLIST // part, k), max(RERANK // part, k)
        count = wanted + min(skipped.size, wanted)
        while True:
            rows = self._without(skipped, signs.nearest(query, min(count, total)))
            if rows.size >= wanted or count >= total:
                break
            count *= 4
        rows = rows[:wanted]
        likely = np.lexsort((self._ids.values[rows], -signs.scores(rows, query)))
        return self._compare(rows[likely[:compared]], query, k)

    def _compare(self, rows: IdArray, query: DescriptorArray, k: int) -> list[tuple[int, float]]:
        """Return the best of a few rows by the stored descriptors."""
        ids = self._ids.values[rows]
        return _best(ids, cosines(self._fetch(ids), query), k) if rows.size else []

    def _without(self, skipped: IdArray, rows: IdArray) -> IdArray:
        """Return the rows whose ids are not skipped."""
        return rows[~np.isin(self._ids.values[rows], skipped)] if skipped.size else rows

    def _check_new(self, ids: IdArray) -> None:
        """Raise ValueError for an id that is negative, given twice, or in use."""
        known = self._ids.values
        if ids.size == 0:
            return
        # Not np.unique: since NumPy 2.3 it imports numpy.ma, which costs a robot memory.
        if ids.min() < 0 or not np.diff(np.sort(ids)).all():
            raise ValueError('ids must be different and not negative')
        if known.size and ids.min() <= known.max() and np.isin(ids, known).any():
            raise ValueError(f'ids in use already: {ids[np.isin(ids, known)][:5].tolist()}')

    def _become_compact(self) -> None:
        """Replace half-precision rows by sign bits of the stored descriptors."""
        signs = self._new_signs(len(self))
        for start in range(0, len(self), BLOCK):
            signs.append(self._fetch(self._ids.values[start:start + BLOCK]))
        self._rows = signs

    def _new_halves(self) -> HalfRows:
        """Return empty half-precision rows."""
        use_faiss = faiss_available() if self._use_faiss is None else self._use_faiss
        return FaissHalfRows(self.dimension) if use_faiss else NumpyHalfRows(self.dimension)

    def _new_signs(self, room: int) -> SignRows:
        """Return empty sign bit rows."""
        scan = scan_codes if self._use_faiss is False else _scan_with_faiss
        return SignRows(self.dimension, scan, room)


class FaissHalfRows:
    """Half-precision rows inside a FAISS scalar quantizer, twice as fast as its float rows."""

    def __init__(self, dimension: int) -> None:
        faiss = _faiss()
        self._index: Any = faiss.IndexScalarQuantizer(
            dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all rows."""
        return int(self._index.ntotal) * int(self._index.d) * 2

    def append(self, rows: DescriptorArray) -> None:
        """Add float32 rows."""
        with _one_thread():
            self._index.add(rows)

    def keep(self, alive: NDArray[np.bool_]) -> None:
        """Keep some rows; FAISS moves the later ones up, as our ids do."""
        self._index.remove_ids(np.flatnonzero(~alive).astype(np.int64))

    def nearest(
        self, query: DescriptorArray, count: int
    ) -> tuple[IdArray, NDArray[np.float32]]:
        """Return the rows of the largest inner products, and these."""
        with _one_thread():
            products, rows = self._index.search(query[np.newaxis], count)
        return rows[0], products[0]


HalfRows = FaissHalfRows | NumpyHalfRows


@contextmanager
def _one_thread() -> Iterator[None]:
    """
    Keep FAISS on this thread.

    Its OpenMP threads cannot share one query, but wait for each other: on a busy two-core
    machine a search took 80 ms instead of 1.2 ms.
    """
    faiss = _faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _scan_with_faiss(
    codes: NDArray[np.uint8], code: NDArray[np.uint8], count: int
) -> tuple[IdArray, NDArray[np.int64]]:
    """Return the nearest rows and their distances."""
    if len(codes) <= SMALL_MAP or not faiss_available():
        return scan_codes(codes, code, count)
    with _one_thread():
        distances, rows = _faiss().knn_hamming(code[np.newaxis], codes, count)
    return rows[0].astype(np.int64), distances[0].astype(np.int64)


def _best(ids: IdArray, similarities: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    """Return the k largest as (id, similarity); equal ones by id."""
    order = np.lexsort((ids, -similarities))[:k]
    # rounding may lift the cosine of equal vectors a little above one
    found = np.clip(similarities[order].astype(np.float64), -1.0, 1.0)
    return list(zip(ids[order].tolist(), found.tolist()))
