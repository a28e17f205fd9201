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

"""The index against brute force, with and without FAISS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import pytest

from vpr_compressed.errors import ConfigError
from vpr_compressed.place_map import index as index_module
from vpr_compressed.place_map.index import faiss_available
from vpr_compressed.place_map.index import PlaceIndex
from vpr_compressed.place_map.index_rows import hamming
from vpr_compressed.place_map.index_rows import scan_codes
from vpr_compressed.place_map.index_rows import SignRows
from vpr_compressed.records import DescriptorArray

DIMENSION = 64
BACKENDS = [False, pytest.param(True, marks=pytest.mark.skipif(
    not faiss_available(), reason='faiss is not installed'))]
KINDS = ['exact', 'compact']


class Store:
    """Descriptors by id, standing in for the map file."""

    def __init__(self) -> None:
        self.descriptors: dict[int, DescriptorArray] = {}
        self.fetched = 0

    def fetch(self, ids: NDArray[np.int64]) -> DescriptorArray:
        """Return descriptors in the order of the ids."""
        self.fetched += len(ids)
        return np.stack([self.descriptors[int(i)] for i in ids])

    def add(self, index: PlaceIndex, ids: NDArray[np.int64], rows: DescriptorArray) -> None:
        """Add to the store and the index."""
        self.descriptors.update(zip(ids.tolist(), rows))
        index.add(ids, rows)

    def brute_force(
        self, query: DescriptorArray, k: int, skip: tuple[int, ...] = ()
    ) -> list[tuple[int, float]]:
        """Return the answer the slow and obvious way."""
        found = [(i, float(row.astype(np.float64) @ query.astype(np.float64)))
                 for i, row in self.descriptors.items() if i not in skip]
        return sorted(found, key=lambda item: (-item[1], item[0]))[:k]


def unit(rng: np.random.Generator, count: int, dimension: int = DIMENSION) -> DescriptorArray:
    """Return random descriptors of unit norm."""
    rows = rng.standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(
    rng: np.random.Generator, kind: str, use_faiss: bool, count: int = 400
) -> tuple[Store, PlaceIndex]:
    """Return an index over random places with ids that are not row numbers."""
    store = Store()
    index = PlaceIndex(DIMENSION, kind, fetch=store.fetch, use_faiss=use_faiss)
    store.add(index, np.arange(count) * 3 + 5, unit(rng, count))
    return store, index


def assert_same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> None:
    """Compare ids, and similarities up to rounding."""
    assert [i for i, _ in found] == [i for i, _ in expected]
    assert [s for _, s in found] == pytest.approx([s for _, s in expected], abs=1e-5)


@pytest.mark.parametrize('use_faiss', BACKENDS)
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('k', [1, 5, 400, 1000])
def test_search_equals_brute_force(
    rng: np.random.Generator, kind: str, use_faiss: bool, k: int
) -> None:
    """Also for more places than there are."""
    store, index = filled(rng, kind, use_faiss)
    for query in unit(rng, 5):
        assert_same(index.search(query, k), store.brute_force(query, k))


@pytest.mark.parametrize('use_faiss', BACKENDS)
@pytest.mark.parametrize('kind', KINDS)
def test_search_equals_brute_force_through_a_life(
    rng: np.random.Generator, kind: str, use_faiss: bool
) -> None:
    """Adding, removing and adding again the same ids."""
    store, index = filled(rng, kind, use_faiss, count=300)
    for _ in range(12):
        gone = rng.choice(list(store.descriptors), 40, replace=False)
        assert index.remove(gone) == 40
        removed = {int(i): store.descriptors.pop(int(i)) for i in gone}
        again = np.array(sorted(removed)[:20])
        store.add(index, again, unit(rng, 20))
        query = unit(rng, 1)[0]
        assert len(index) == len(store.descriptors)
        assert_same(index.search(query, 7), store.brute_force(query, 7))


@pytest.mark.parametrize('use_faiss', BACKENDS)
@pytest.mark.parametrize('kind', KINDS)
def test_skipped_places_do_not_take_the_room_of_others(
    rng: np.random.Generator, kind: str, use_faiss: bool
) -> None:
    """Even when all the most similar ones are skipped."""
    store, index = filled(rng, kind, use_faiss)
    query = unit(rng, 1)[0]
    skip = tuple(i for i, _ in store.brute_force(query, 390))
    assert_same(index.search(query, 5, skip=np.array(skip)), store.brute_force(query, 5, skip))
    everything = np.array(list(store.descriptors))
    assert index.search(query, 5, skip=everything) == []


@pytest.mark.parametrize('use_faiss', BACKENDS)
@pytest.mark.parametrize('kind', KINDS)
def test_equal_places_are_ordered_by_id(
    rng: np.random.Generator, kind: str, use_faiss: bool
) -> None:
    """Many copies of one place: the lowest ids come first, in every backend."""
    store = Store()
    index = PlaceIndex(DIMENSION, kind, fetch=store.fetch, use_faiss=use_faiss)
    row = unit(rng, 1)
    store.add(index, np.arange(1000, 1050), unit(rng, 50))
    for some in np.array_split(rng.permutation(700), 10):
        store.add(index, some, np.repeat(row, some.size, axis=0))
    assert_same(index.search(row[0], 4), [(i, 1.0) for i in range(4)])


@pytest.mark.parametrize('use_faiss', BACKENDS)
def test_places_behind_many_skipped_ones_are_not_all_fetched(
    rng: np.random.Generator, use_faiss: bool
) -> None:
    """A robot that maps at 10 images a second skips the 300 that look most like the last one."""
    store, index = filled(rng, 'exact', use_faiss, count=2000)
    query = unit(rng, 1)[0]
    skip = tuple(i for i, _ in store.brute_force(query, 300))
    wanted = store.brute_force(query, 5, skip)
    assert_same(index.search(query, 5, skip=np.array(skip)), wanted)
    assert store.fetched < 100


@pytest.mark.skipif(not faiss_available(), reason='faiss is not installed')
@pytest.mark.parametrize('kind', KINDS)
def test_answers_do_not_depend_on_faiss(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Bit for bit, with near duplicates and many equal Hamming distances at the cut."""
    monkeypatch.setattr(index_module, 'SHORTLIST', 100)
    monkeypatch.setattr(index_module, 'RERANK', 30)
    store = Store()
    rows = np.repeat(unit(rng, 60), 25, axis=0) + 0.02 * unit(rng, 1500)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    indices = [PlaceIndex(DIMENSION, kind, fetch=store.fetch, use_faiss=f) for f in (True, False)]
    for index in indices:
        store.add(index, np.arange(1500), rows)
        index.remove(np.arange(100, 700, 3))
    for query in np.concatenate([unit(rng, 5), rows[::300]]):
        first, second = (index.search(query, 10) for index in indices)
        assert first == second


@pytest.mark.parametrize('use_faiss', BACKENDS)
def test_half_precision_hides_no_place(use_faiss: bool) -> None:
    """
    The best place comes last of all among the rounded rows, and is found.

    The query is 0.25 in 16 values, so a row's cosine is a quarter of their sum. All values are
    near 0.125, where half precision goes in steps of 2 ** -13 and rounds to the nearest.
    """
    step = 2.0 ** -13
    best, decoy, other = np.zeros(16), np.zeros(16), np.zeros(16)
    best[:] = 0.49 * step       # cosine 0.50024, rounded down to 0.50000
    decoy[:7] = step            # cosine 0.50021, exact
    other[:4] = 0.51 * step     # cosine 0.50006, rounded up to 0.50012
    rows = np.zeros((62, 80), np.float32)
    rows[:, :16] = 0.125 + np.stack([best, decoy, *[other] * 60])
    rows[np.arange(62), 16 + np.arange(62)] = np.sqrt(1.0 - np.sum(rows ** 2, axis=1))
    query = np.zeros(80, np.float32)
    query[:16] = 0.25
    store = Store()
    index = PlaceIndex(80, 'exact', fetch=store.fetch, use_faiss=use_faiss)
    store.add(index, np.arange(62), rows)
    assert np.argmax(rows.astype(np.float16).astype(np.float32) @ query) == 1
    assert_same(index.search(query, 1), store.brute_force(query, 1))
    assert index.search(query, 2)[0][0] == 0


@pytest.mark.parametrize(('angle_deg', 'share'), [(0, 0.0), (30, 1 / 6), (60, 1 / 3), (90, 0.5),
                                                  (150, 5 / 6), (180, 1.0)])
def test_sign_bits_measure_the_angle(angle_deg: float, share: float) -> None:
    """
    Also between descriptors with only two values that are not zero.

    Their signs alone would all be equal; rotation spreads the two over all bits, so that the
    share of bits that differ is that of the angle in half a turn.
    """
    distances: list[int] = []

    def scan(
        codes: NDArray[np.uint8], code: NDArray[np.uint8], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, found = scan_codes(codes, code, count)
        distances.extend(found.tolist())
        return rows, found

    rows, query = np.zeros((20, 512), np.float32), np.zeros(512, np.float32)
    query[0] = 1.0
    rows[:, 0] = np.cos(np.radians(angle_deg))
    rows[np.arange(20), 1 + np.arange(20)] = np.sin(np.radians(angle_deg))
    signs = SignRows(512, scan)
    signs.append(rows)
    signs.nearest(query, 1)
    assert np.array(distances) / 512 == pytest.approx(np.full(20, share), abs=0.08)
    assert np.mean(distances) / 512 == pytest.approx(share, abs=0.02)


def test_auto_becomes_compact_when_it_grows(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers stay, the memory goes down to one bit per value and one id per place."""
    monkeypatch.setattr(index_module, 'COMPACT_ABOVE', 1000)
    store = Store()
    index = PlaceIndex(DIMENSION, fetch=store.fetch)
    store.add(index, np.arange(1000), unit(rng, 1000))
    index.remove(np.arange(10))
    query = unit(rng, 1)[0]
    before, kind_before, bytes_before = index.search(query, 5), index.kind, index.nbytes
    store.add(index, np.arange(1000, 1011), -np.tile(query, (11, 1)))
    assert (kind_before, index.kind) == ('exact', 'compact')
    assert index.search(query, 5) == before
    assert index.nbytes < bytes_before / 4
    assert index.nbytes <= 1.2 * len(index) * (DIMENSION / 8 + 8)
    assert PlaceIndex(DIMENSION, fetch=store.fetch, expected=1001).kind == 'compact'


def test_compact_finds_noisy_revisits_among_many_places(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whitened-like descriptors (uneven variances, an offset): the rotation keeps recall."""
    monkeypatch.setattr(index_module, 'SHORTLIST', 500)
    monkeypatch.setattr(index_module, 'RERANK', 100)
    scale = (1.0 + np.arange(128)) ** -0.5
    rows = (rng.standard_normal((6000, 128)) * scale + 0.05).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store = Store()
    index = PlaceIndex(128, 'compact', fetch=store.fetch)
    store.add(index, np.arange(6000), rows)
    queries = rows[:100] + (0.06 * rng.standard_normal((100, 128)) * scale).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = np.argmax(queries @ rows.T, axis=1)
    found = [index.search(query, 1)[0][0] for query in queries]
    assert np.mean(exact == np.array(found)) >= 0.98


@pytest.mark.parametrize('use_faiss', BACKENDS)
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('dimension', [1, 7, 16, 100])
def test_any_dimension_works(
    rng: np.random.Generator, kind: str, use_faiss: bool, dimension: int
) -> None:
    """Also those that fill no byte and no power of two."""
    store = Store()
    index = PlaceIndex(dimension, kind, fetch=store.fetch, use_faiss=use_faiss)
    rows = unit(rng, 30, dimension)
    store.add(index, np.arange(30), rows)
    assert index.search(rows[3], 1)[0][1] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize('use_faiss', BACKENDS)
@pytest.mark.parametrize('kind', KINDS)
def test_an_empty_index_knows_nothing(
    rng: np.random.Generator, kind: str, use_faiss: bool
) -> None:
    """Before anything was added and after everything was removed."""
    store = Store()
    index = PlaceIndex(DIMENSION, kind, fetch=store.fetch, use_faiss=use_faiss)
    rows = unit(rng, 3)
    assert index.search(rows[0], 5) == []
    assert index.remove(np.array([1, 2])) == 0
    store.add(index, np.arange(3), rows)
    assert index.remove(np.arange(10)) == 3
    assert (len(index), index.search(rows[0], 5), index.search(rows[0], 0)) == (0, [], [])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(('ids', 'damage', 'message'), [
    ([5], 0.0, 'in use already'),
    ([9, 9], 0.0, 'different'),
    ([-1], 0.0, 'not negative'),
    ([1], np.nan, 'not finite'),
    ([1], np.inf, 'not finite'),
])
def test_what_faiss_would_accept_silently_is_refused(
    rng: np.random.Generator, kind: str, ids: list[int], damage: float, message: str
) -> None:
    """And the index is as before."""
    store, index = filled(rng, kind, use_faiss=faiss_available())
    rows = unit(rng, len(ids))
    rows[0, 0] += damage
    with pytest.raises(ValueError, match=message):
        index.add(np.array(ids), rows)
    assert len(index) == 400
    query = unit(rng, 1)[0]
    assert_same(index.search(query, 3), store.brute_force(query, 3))


def test_wrong_shapes_and_kinds_are_refused(rng: np.random.Generator) -> None:
    """With the words for what is needed."""
    store = Store()
    index = PlaceIndex(DIMENSION, fetch=store.fetch)
    with pytest.raises(ValueError, match=r'shape \(2, 64\)'):
        index.add(np.arange(2), unit(rng, 3))
    with pytest.raises(ValueError, match='query of shape'):
        index.search(unit(rng, 1, 32)[0], 1)
    with pytest.raises(ValueError, match='finite'):
        index.search(np.full(DIMENSION, np.nan, np.float32), 1)
    with pytest.raises(ConfigError, match='choose one of auto'):
        PlaceIndex(DIMENSION, 'hnsw', fetch=store.fetch)


@pytest.mark.parametrize('width', [8, 19, 64])
def test_hamming_counts_the_bits_that_differ(rng: np.random.Generator, width: int) -> None:
    """Whole words are counted at once, odd widths byte by byte; both as slowly defined."""
    codes = rng.integers(0, 256, (50, width), np.uint8)
    expected = [sum((a ^ b).bit_count() for a, b in zip(row.tolist(), codes[7].tolist()))
                for row in codes]
    assert hamming(codes, codes[7]).tolist() == expected
