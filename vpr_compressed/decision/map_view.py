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
What the decision knows of a map: which keyframes follow each other, and how alike they are.

Read from the map at most once for every tenth by which it grows; per place nothing is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from vpr_compressed.place_map.index_rows import IdArray
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.place_map.searchable import Searchable
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Keyframe

#: Keyframes that stand for the whole map, and pairs of neighbours that are compared.
SAMPLE, PAIRS = 256, 64
#: View change (1 - cosine) of neighbours within which a map can be walked step by step.
_LEAST_CHANGE, _MOST_CHANGE = 0.1, 0.4
#: Share of a map that must resemble a keyframe less than its neighbour does, for file order to
#: be a route, and how much of it a map of N places may lack, times N.
_SEQUENCE_RANK, _RANK_SLACK = 0.92, 2.0
#: Where there are poses: neighbours of a route are nearer than this share of its far places, and
#: evenly spaced when such a share of the gaps is within this factor of the median.
_ROUTE_SHARE, _EVEN_SHARE, _EVEN = 0.4, 0.8, 1.4
#: Places less alike than this are not called one, however different the neighbours of a map are:
#: floors that look alike reach 0.55.
_LEAST_LINK = 0.75
#: Fewer keyframes than this in a session say nothing about its spacing.
_FEWEST = 8
_CACHED = 256
#: Growth after which a map is measured again.
_GROWTH = 1.1


@dataclass(frozen=True)
class Spacing:
    """
    How far apart the keyframes of a session are.

    :param change: view change (1 - cosine) that counts as one step
    :param per_step: keyframes per such step; below 1 where neighbours differ by more
    """

    change: float
    per_step: float

    @property
    def stride(self) -> int:
        """Return the number of neighbouring keyframes that are treated as one node."""
        return max(1, round(self.per_step))


_UNKNOWN_SPACING = Spacing(0.3, 1.0)


class MapView:
    """
    Rows, nodes and likeness of a map.

    A *row* is the position of a keyframe among those that can be found. A *node* is a run of
    ``stride`` rows of one session, about one view change long; nodes of one session follow
    each other without a gap.

    :param place_map: may grow and be edited
    """

    def __init__(self, place_map: PlaceMap) -> None:
        self._map = place_map
        self._cache: OrderedDict[int, DescriptorArray] = OrderedDict()
        self._seen = (-1, 0)
        self._found = Searchable(-1, np.zeros(0, np.int64), np.zeros(0, np.int64), None)
        self._starts: IdArray = np.zeros(1, np.int64)
        self._bases: IdArray = np.zeros(1, np.int64)
        self._strides: IdArray = np.ones(1, np.int64)
        self._lengths: IdArray = np.zeros(1, np.int64)
        self._counts: IdArray = np.zeros(1, np.int64)
        self._spacings: dict[int, Spacing] = {}
        self.spacing = _UNKNOWN_SPACING
        #: Descriptors that stand for the map, ``(S, D)``, and their mean.
        self.sample: DescriptorArray = np.zeros((0, place_map.dimension), np.float32)
        self.mean: DescriptorArray = np.zeros(place_map.dimension, np.float32)
        self.is_sequence = False
        #: Centred correlation of neighbouring nodes: what one place looks like twice.
        self.link_correlation = 1.0
        #: Metres from node to node, NaN without poses; and NaN where they are not evenly spaced.
        self.node_m = self.even_m = math.nan
        #: Rises when nodes got other numbers.
        self.version = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._found.ids)

    def refresh(self, exclude_since_ns: int | None) -> None:
        """Take what can be found now; measure again after an edit or when the map has grown."""
        before, found = self._found, self._map.searchable(exclude_since_ns)
        self._found = found
        rows, (edits, measured) = len(found.ids), self._seen
        if edits == found.edits == before.edits and rows == len(before.ids):
            return  # rows are only added between two edits
        if edits != found.edits or rows < measured or rows > measured * _GROWTH:
            if edits != found.edits:
                self._cache.clear()
            self._seen = -1, 0  # should the map not be readable now, it is measured next time
            numbers = self._starts, self._strides
            self._measure()
            self._seen = found.edits, rows
            if edits != found.edits or rows < measured or not _continues(
                    numbers, (self._starts, self._strides)):
                self.version += 1
        else:
            self._find_sessions()
            self._number_nodes()

    def ids(self, rows: IdArray) -> IdArray:
        """Return the keyframe numbers of rows."""
        return self._found.ids[rows]

    def rows_of(self, ids: IdArray) -> IdArray:
        """Return the rows of keyframe numbers, -1 for those that cannot be found."""
        known = self._found.ids
        if not known.size:
            return np.full(len(ids), -1, np.int64)
        rows = np.minimum(np.searchsorted(known, ids), known.size - 1)
        return np.where(known[rows] == ids, rows, -1)

    def segment(self, rows: IdArray) -> IdArray:
        """Return which stretch of one session rows belong to."""
        return np.searchsorted(self._starts, rows, side='right') - 1

    def nodes(self, rows: IdArray) -> IdArray:
        """Return the nodes of rows; nodes of different sessions are two apart at least."""
        segment = self.segment(rows)
        return self._bases[segment] + (rows - self._starts[segment]) // self._strides[segment]

    @property
    def node_count(self) -> int:
        """Return the number of nodes, about one per view change."""
        return int(self._counts.sum())

    def all_nodes(self) -> IdArray:
        """Return every node, rising."""
        return np.concatenate([
            base + np.arange(many) for base, many in zip(self._bases, self._counts)])

    def spacing_at(self, row: int) -> Spacing:
        """Return the spacing of the session of a row, else of the map."""
        return self._spacings.get(int(self.segment(np.array([row]))[0]), self.spacing)

    def exist(self, nodes: IdArray) -> NDArray[np.bool_]:
        """Return which numbers are nodes."""
        base = np.searchsorted(self._bases, nodes, side='right') - 1
        inside = (base >= 0) & (nodes < self._bases[base] + self._counts[base])
        return np.asarray(inside)

    def rows_in(self, nodes: IdArray) -> IdArray:
        """Return the middle row of nodes that exist."""
        base = np.searchsorted(self._bases, nodes, side='right') - 1
        first = self._starts[base] + (nodes - self._bases[base]) * self._strides[base]
        ends = np.append(self._starts[1:], len(self))[base]
        return np.asarray(np.minimum(first + self._strides[base] // 2, ends - 1), np.int64)

    def nearest(self, direction: DescriptorArray, k: int) -> tuple[IdArray, NDArray[np.float32]]:
        """Return the rows most similar to a direction and their cosines, best first."""
        found = self._map.nearest(direction, k, skip=self._found.skip)
        rows = self.rows_of(np.array([i for i, _ in found], np.int64))
        kept = rows >= 0
        return rows[kept], np.array([s for _, s in found], np.float32)[kept]

    def descriptors(self, rows: IdArray) -> DescriptorArray:
        """Return the descriptors of rows, ``(M, D)``; those of the last images are kept."""
        ids, cache = self.ids(rows).tolist(), self._cache
        missing = [i for i in ids if i not in cache]
        if missing:
            cache.update(zip(missing, self._map.descriptors(missing, missing_ok=True)))
        found = np.stack([cache[i] for i in ids])
        for i in ids:
            cache.move_to_end(i)
        while len(cache) > _CACHED:
            cache.popitem(last=False)
        return found

    def keyframes(self, rows: IdArray) -> dict[int, Keyframe]:
        """Return row -> keyframe, for those that exist."""
        ids = self.ids(rows).tolist()
        found = self._map.keyframes_of(ids)
        return {int(row): found[i] for row, i in zip(rows.tolist(), ids) if i in found}

    def _measure(self) -> None:
        """Compare a sample of the map with itself."""
        count = len(self)
        self._find_sessions()
        if not count:
            self.sample = self.sample[:0]
            self._spacings, self.spacing, self.is_sequence = {}, _UNKNOWN_SPACING, False
            self._number_nodes()
            return
        self.sample = self._uncached(_spread(count, SAMPLE))
        self.mean = self.sample.mean(axis=0)
        ends = np.append(self._starts[1:], count)
        longest = np.argsort(self._starts - ends, kind='stable')[:PAIRS]
        self._spacings = {}
        for segment in longest.tolist():
            rows = np.arange(self._starts[segment], ends[segment])
            if (found := self._measure_spacing(rows)) is not None:
                self._spacings[segment] = found
        known = list(self._spacings.values())
        self.spacing = _UNKNOWN_SPACING if not known else Spacing(
            _median([each.change for each in known]), _median([each.per_step for each in known]))
        self._number_nodes()
        self._measure_neighbours()

    def _find_sessions(self) -> None:
        """Find the first row of each stretch of one session."""
        starts = np.searchsorted(self._found.ids, self._found.session_starts)
        starts = starts[starts < len(self)]
        # a session whose rows were all removed starts where the next one does
        self._starts = starts[np.append(True, np.diff(starts) > 0)] if starts.size else (
            np.zeros(1, np.int64))

    def _number_nodes(self) -> None:
        """Give numbers to the nodes; a session that grows gets more of them at its end."""
        self._strides = np.array([
            self._spacings.get(segment, self.spacing).stride
            for segment in range(len(self._starts))], np.int64)
        self._lengths = np.diff(np.append(self._starts, len(self)))
        self._counts = -(-self._lengths // self._strides)
        # Rows that come later belong to the last session: only it can grow.
        self._bases = np.concatenate([[0], np.cumsum(self._counts[:-1] + 1)]).astype(np.int64)

    def _measure_spacing(self, rows: IdArray) -> Spacing | None:
        """Return the spacing of the rows of one session, None where they are too few."""
        before: tuple[int, float] | None = None
        for step in (1, 2, 4, 8, 16, 32):
            if len(rows) < max(_FEWEST, step + 4):
                break
            first = rows[_spread(len(rows) - step, PAIRS)]
            change = self._change(first, first + step)
            if step == 1 and change >= _LEAST_CHANGE:
                wanted = min(change, _MOST_CHANGE)
                return Spacing(wanted, wanted / change)
            if change >= _LEAST_CHANGE and before is not None:
                share = (_LEAST_CHANGE - before[1]) / max(change - before[1], 1e-6)
                return Spacing(_LEAST_CHANGE, before[0] + (step - before[0]) * share)
            before = step, change
        return None if before is None else Spacing(_LEAST_CHANGE, float(before[0]))

    def _change(self, one: IdArray, other: IdArray) -> float:
        """Return the median view change from rows to other rows."""
        return 1.0 - _median(np.einsum('nd,nd->n', self._uncached(one), self._uncached(other)))

    def _measure_neighbours(self) -> None:
        """Find out whether file order is a route, and how alike its neighbours are."""
        count = len(self)
        first = _spread(max(count - 1, 1), PAIRS)
        second = np.minimum(first + np.maximum(self._strides[self.segment(first)], 1), count - 1)
        same = (self.segment(first) == self.segment(second)) & (second > first)
        first, second = first[same], second[same]
        self.is_sequence, self.link_correlation = False, 1.0
        self.node_m = self.even_m = math.nan
        if first.size < 2:
            return
        one, other, all_places = (
            _centred(each, self.mean) for each in (
                self._uncached(first), self._uncached(second), self.sample))
        alike = np.einsum('nd,nd->n', one, other)
        less = (one @ all_places.T < alike[:, np.newaxis] - 1e-6).sum(axis=1)
        rank = _median(less) / max(len(all_places) - 1, 1)
        self.is_sequence = rank >= _SEQUENCE_RANK - _RANK_SLACK / count
        self.link_correlation = max(_LEAST_LINK, _median(alike))
        self._measure_poses(first, second)

    def _measure_poses(self, first: IdArray, second: IdArray) -> None:
        """Take the metres between neighbours; where they are known, they say what a route is."""
        found = self.keyframes(np.concatenate([first, second]))
        ends = [(found.get(a), found.get(b)) for a, b in zip(first.tolist(), second.tolist())]
        gaps = [metres for pair in ends if (metres := distance_m(*pair)) is not None]
        # every place against every other, for a route may be in the file more than once
        apart = [metres for one, _ in ends for _, other in ends
                 if (metres := distance_m(one, other)) is not None]
        far = sorted(apart)[len(apart) * 3 // 4] if apart else 0.0
        # poses that never change, as of a localisation that does not run, say nothing
        if len(gaps) >= _FEWEST // 2 and far > 0.0:
            gap = _median(gaps)
            self.is_sequence = gap <= _ROUTE_SHARE * far
            # in a jumble of places neighbours in the file are not near each other
            self.node_m = gap if self.is_sequence else math.nan
            usual = sum(gap / _EVEN <= metres <= gap * _EVEN for metres in gaps)
            self.even_m = self.node_m if usual >= _EVEN_SHARE * len(gaps) else math.nan

    def _uncached(self, rows: IdArray) -> DescriptorArray:
        """Return descriptors without keeping them; zeros where another process removed them."""
        return self._map.descriptors(self.ids(rows).tolist(), missing_ok=True)


def _median(values: ArrayLike) -> float:
    """Return the median; np.median would import numpy.ma, 3 MB on a robot."""
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2.0


def _centred(rows: DescriptorArray, mean: DescriptorArray) -> DescriptorArray:
    """Return unit vectors from the mean of a map, ``(N, D)``."""
    apart = rows - mean
    return np.asarray(
        apart / (np.linalg.norm(apart, axis=1, keepdims=True) + np.float32(1e-9)), np.float32)


def _continues(before: tuple[IdArray, IdArray], now: tuple[IdArray, IdArray]) -> bool:
    """Return whether sessions start where they did, with the same strides; more may follow."""
    return all(np.array_equal(new[:len(old)], old) for old, new in zip(before, now))


def _spread(count: int, wanted: int) -> IdArray:
    """Return up to ``wanted`` rows, evenly spread over ``count``."""
    if count <= wanted:
        return np.arange(count, dtype=np.int64)
    return np.round(np.linspace(0, count - 1, wanted)).astype(np.int64)


def distance_m(one: Keyframe | None, other: Keyframe | None) -> float | None:
    """Return the metres between two keyframes with poses in one frame, else None."""
    if one is None or other is None or one.pose is None or other.pose is None or (
            one.pose.frame_id != other.pose.frame_id):
        return None
    return math.dist(one.pose.position_m, other.pose.position_m)
