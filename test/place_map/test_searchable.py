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

"""What of a map can be found, in which stretches, and by which direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_compressed.errors import MapFileError
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import DescriptorArray

DIMENSION = 32


@pytest.fixture
def rows(rng: np.random.Generator) -> DescriptorArray:
    """Return twelve random unit descriptors."""
    found = rng.standard_normal((12, DIMENSION)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def new_map(path: Path | None = None) -> PlaceMap:
    """Return an empty map."""
    return PlaceMap.create(path, descriptor_id='made', dimension=DIMENSION)


def starts(place_map: PlaceMap) -> list[int]:
    """Return where the stretches of one session start."""
    return place_map.searchable().session_starts.tolist()


def test_nearest_takes_directions_of_any_length(rows: DescriptorArray) -> None:
    """The cosines are those of the stored descriptors; equal ones come in order."""
    place_map = new_map()
    for row in rows:
        place_map.add(row, stamp_ns=0)
    stored = place_map.descriptors(range(1, 13))
    direction = rows[3] - 0.4 * rows[7]
    expected = stored @ (direction / np.linalg.norm(direction))
    for scale in (1.0, 1e-3, 250.0):
        found = place_map.nearest(np.float32(scale) * direction, 5)
        assert [i for i, _ in found] == (1 + np.argsort(-expected)[:5]).tolist()
        assert [s for _, s in found] == pytest.approx(np.sort(expected)[::-1][:5], abs=1e-5)
    assert len(place_map.nearest(direction, 99)) == 12
    assert [c.keyframe.keyframe_id for c in place_map.search(direction, 5)] == [
        i for i, _ in place_map.nearest(direction, 5)]


def test_nearest_leaves_out_what_it_is_told_to(rows: DescriptorArray) -> None:
    """And fills up with the next ones; nothing is left where all are left out."""
    place_map = new_map()
    for row in rows:
        place_map.add(row, stamp_ns=0)
    every = [i for i, _ in place_map.nearest(rows[0], 12)]
    skip = np.sort(np.array(every[:4]))
    assert [i for i, _ in place_map.nearest(rows[0], 3, skip=skip)] == every[4:7]
    assert place_map.nearest(rows[0], 3, skip=np.arange(1, 13)) == []
    assert new_map().nearest(rows[0], 3) == []


@pytest.mark.parametrize('direction', [
    np.zeros(DIMENSION), np.full(DIMENSION, np.nan), np.ones(DIMENSION - 1)])
def test_nearest_refuses_what_is_no_direction(
    rows: DescriptorArray, direction: DescriptorArray
) -> None:
    """Instead of finding something."""
    place_map = new_map()
    place_map.add(rows[0], stamp_ns=0)
    with pytest.raises(MapFileError):
        place_map.nearest(direction, 1)


def test_keyframes_of_gives_those_that_exist(rows: DescriptorArray) -> None:
    """In any order, twice or never; a removed one is simply not there."""
    place_map = new_map()
    added = [place_map.add(row, stamp_ns=i) for i, row in enumerate(rows[:4])]
    place_map.remove([2])
    assert place_map.keyframes_of([4, 1, 2, 99, 4]) == {1: added[0], 4: added[3]}
    assert place_map.keyframes_of([]) == {}
    assert place_map.keyframes_of(range(1, 3000)).keys() == {1, 3, 4}


def test_stretches_of_a_session_are_known_and_read_back(
    rows: DescriptorArray, tmp_path: Path
) -> None:
    """Each starts with its first keyframe; sessions without any have none."""
    path = tmp_path / 'map'
    with new_map(path) as place_map:
        assert starts(place_map) == []
        for row in rows[:3]:
            place_map.add(row, stamp_ns=0)
        place_map.begin_session()
        place_map.begin_session()
        assert starts(place_map) == [1]
        for row in rows[3:5]:
            place_map.add(row, stamp_ns=0)
        assert starts(place_map) == [1, 4]
    with PlaceMap.open(path, read_only=False) as place_map:
        assert starts(place_map) == [1, 4]
        assert place_map.searchable().ids.tolist() == [1, 2, 3, 4, 5]
        place_map.add(rows[5], stamp_ns=0)
        assert starts(place_map) == [1, 4, 6]
    with PlaceMap.open(path) as place_map:
        assert starts(place_map) == [1, 4, 6]


def test_editing_is_counted_and_growing_is_not(rows: DescriptorArray) -> None:
    """So that what was measured of a map is measured again when its numbers have gone."""
    place_map = new_map()
    for row in rows[:6]:
        place_map.add(row, stamp_ns=0)
    before = place_map.searchable()
    place_map.add(rows[6], stamp_ns=0)
    grown = place_map.searchable()
    assert (grown.edits, grown.ids.tolist()) == (before.edits, [1, 2, 3, 4, 5, 6, 7])
    assert before.ids.tolist() == [1, 2, 3, 4, 5, 6]
    place_map.remove([3])
    removed = place_map.searchable()
    assert removed.edits > grown.edits
    assert removed.ids.tolist() == [1, 2, 4, 5, 6, 7]
    place_map.clear()
    cleared = place_map.searchable()
    assert cleared.edits > removed.edits
    assert (cleared.ids.size, cleared.session_starts.size) == (0, 0)
    place_map.add(rows[0], stamp_ns=0)
    assert starts(place_map) == [8]


def test_the_recent_part_of_the_session_ends_what_can_be_found(rows: DescriptorArray) -> None:
    """A time before it leaves earlier sessions; a time after it leaves everything."""
    place_map = new_map()
    for row in rows[:3]:
        place_map.add(row, stamp_ns=50)
    place_map.begin_session()
    for i, row in enumerate(rows[3:9]):
        place_map.add(row, stamp_ns=10 * i)
    for since_ns, ids, skip in (
            (None, range(1, 10), None), (0, range(1, 4), range(4, 10)),
            (20, range(1, 6), range(6, 10)), (21, range(1, 7), range(7, 10)),
            (1000, range(1, 10), [])):
        found = place_map.searchable(since_ns)
        assert found.ids.tolist() == list(ids)
        assert (None if found.skip is None else sorted(found.skip.tolist())) == (
            None if skip is None else list(skip))
        assert starts(place_map) == [1, 4]
