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

"""Walks through scattered positions, such as street views that were not taken in one go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The shortest chain, and the shortest step in metres.
_FEWEST, _NEAREST_M = 18, 1.5
#: The way never turns by more than this between two positions, in degrees.
_SHARPEST = 100.0
#: A position so many metres nearer may lie 53 degrees off the way.
_STRAIGHT_M = 16.0
#: A heading is kept until it is off the way by this, in degrees.
_KEEP = 60.0


def chains(positions_m: NDArray[np.float64], step_m: float) -> list[list[tuple[int, int]]]:
    """
    Return the longest ways from position to position, each position on one way at most.

    Greedy: of all ways that go on as straight as they can, the longest is taken first.

    :param positions_m: east and north, ``(N, 2)``
    :param step_m: longest step
    :returns: for each way index of the position and heading: 0 north, 1 east, 2 south, 3 west
    """
    distance = np.linalg.norm(positions_m[:, np.newaxis] - positions_m, axis=2)
    near = [np.flatnonzero((row >= _NEAREST_M) & (row <= step_m)) for row in distance]
    free = np.ones(len(positions_m), bool)
    ways = [_way(positions_m, near, free, start, second)
            for start in range(len(near)) for second in near[start].tolist()]
    found: list[list[tuple[int, int]]] = []
    while True:
        longest = max(ways, key=len, default=[])
        if len(longest) < _FEWEST:
            return found
        free[longest] = False
        found.append(list(zip(longest, _headings(positions_m[longest]))))
        # A way that loses none of its positions would go on as it did.
        ways = [way if free[way].all() else _way(positions_m, near, free, way[0], way[1])
                for way in ways if free[way[:2]].all()]


def _way(
    positions_m: NDArray[np.float64], near: Sequence[NDArray[np.int64]],
    free: NDArray[np.bool_], start: int, second: int
) -> list[int]:
    """
    Return the way that goes on straight from two positions.

    :param near: for each position those one step away
    """
    way, unused = [start, second], free.copy()
    unused[way] = False
    ahead = _unit(positions_m[second] - positions_m[start])
    while True:
        here = near[way[-1]]
        here = here[unused[here]]
        steps = positions_m[here] - positions_m[way[-1]]
        lengths = np.linalg.norm(steps, axis=1)
        cosines = steps @ ahead / np.maximum(lengths, 1e-9)
        costs = np.where(cosines > np.cos(np.radians(_SHARPEST)),
                         lengths / _STRAIGHT_M + 2.5 * (1.0 - cosines), np.inf)
        if not np.isfinite(costs).any():
            return way
        best = int(costs.argmin())
        way.append(int(here[best]))
        unused[way[-1]] = False
        ahead = _unit(0.4 * ahead + 0.6 * steps[best] / lengths[best])


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a vector of length one; a turn back keeps what it has."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _headings(way_m: NDArray[np.float64]) -> list[int]:
    """Return the quarter nearest to the direction of the way, not changed back and forth."""
    east, north = np.gradient(way_m, axis=0).T
    headings: list[int] = []
    for bearing in np.degrees(np.arctan2(east, north)).tolist():
        kept = headings[-1] if headings else -1
        off = abs((bearing - 90.0 * kept + 180.0) % 360.0 - 180.0)
        headings.append(kept if headings and off < _KEEP else round(bearing / 90.0) % 4)
    return headings
