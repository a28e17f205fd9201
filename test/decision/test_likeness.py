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

"""How much an image resembles places: relative to the map, and without what images share."""

from __future__ import annotations

from made_walks import map_of
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.decision.likeness import Likenesses
from vpr_compressed.decision.map_view import MapView
from vpr_compressed.place_map.place_map import PlaceMap

WORLD = World()
NONE = np.zeros(0, np.int64)


def likenesses_of(place_map: PlaceMap) -> Likenesses:
    """Return likenesses that have seen nothing."""
    view = MapView(place_map)
    view.refresh(None)
    return Likenesses(view)


@pytest.fixture(scope='module')
def known() -> PlaceMap:
    """Return a map of the whole road: place p is row and node p, keyframe p + 1."""
    return map_of(WORLD.at(range(120)))


def test_likeness_is_told_in_standard_deviations(known: PlaceMap) -> None:
    """Most places have about 0, the shown one several; found rows come best first."""
    likenesses = likenesses_of(known)
    row = WORLD.at([50], visit=1)[0]
    likenesses.take(row, 1.0, keep=True)
    seen = likenesses.of(row, NONE)
    assert seen.rows[0] == seen.best_row(50) == 50
    assert seen.row_z.tolist() == sorted(seen.row_z.tolist(), reverse=True)
    assert 3.0 < seen.z.max() < 6.0
    assert abs(float(np.median(seen.row_z))) < 1.5
    assert np.all(np.diff(seen.nodes) > 0)
    assert sorted(seen.nodes.tolist()) == sorted(seen.rows.tolist())


def test_nodes_believed_in_are_looked_at_though_not_found(known: PlaceMap) -> None:
    """Their likeness is that of the map's own descriptors; those found are not doubled."""
    likenesses = likenesses_of(known)
    row = WORLD.at([50], visit=1)[0]
    likenesses.take(row, 1.0, keep=True)
    found = likenesses.of(row, NONE)
    missing = sorted({*range(120)} - {*found.nodes.tolist()})[:3]
    seen = likenesses.of(row, np.array([*missing, 50, 500]))
    assert {*seen.nodes.tolist()} == {*found.nodes.tolist(), *missing}
    lowest = found.row_z.min()
    for node in missing:
        at = seen.nodes.tolist().index(node)
        assert seen.z[at] <= lowest + 1e-6
        assert seen.node_rows[at] == node
    assert np.array_equal(seen.rows, found.rows)


def test_what_recent_images_share_is_taken_off(known: PlaceMap) -> None:
    """Under another light the place stands out more, the more images of it were seen."""
    rows = WORLD.at(range(40, 80), visit=1, light=2.0)
    likenesses = likenesses_of(known)
    own = []
    for node, row in enumerate(rows, start=40):
        likenesses.take(row, 1.0, keep=True)
        seen = likenesses.of(row, np.array([node]))
        own.append(float(seen.z[seen.nodes.tolist().index(node)]))
    fresh = []
    for node, row in enumerate(rows, start=40):
        likenesses.reset()
        seen = likenesses.of(row, np.array([node]))
        fresh.append(float(seen.z[seen.nodes.tolist().index(node)]))
    assert np.mean(own[10:]) > np.mean(fresh[10:]) + 0.5


def test_an_image_that_does_not_count_changes_no_mean(known: PlaceMap) -> None:
    """However often it is shown; a reset begins with the map's mean again."""
    rows = WORLD.at(range(40, 44), visit=1, light=2.0)
    likenesses, other = likenesses_of(known), likenesses_of(known)
    for row in rows:
        likenesses.take(row, 1.0, keep=True)
        other.take(row, 1.0, keep=True)
    for _ in range(50):
        other.take(rows[-1], 0.2, keep=False)
    assert np.array_equal(likenesses.of(rows[0], NONE).row_z, other.of(rows[0], NONE).row_z)
    other.reset()
    fresh = likenesses_of(known)
    assert np.array_equal(other.of(rows[0], NONE).row_z, fresh.of(rows[0], NONE).row_z)


def test_in_a_small_map_likeness_is_worth_less() -> None:
    """Few places say little about what likeness by chance looks like."""
    best = {}
    for places in (6, 12, 60):
        place_map = map_of(WORLD.at(range(places)))
        row = WORLD.at([3], visit=1)[0]
        likenesses = likenesses_of(place_map)
        likenesses.take(row, 1.0, keep=True)
        best[places] = float(likenesses.of(row, NONE).z.max())
    assert best[6] < best[12] < best[60]


@pytest.mark.parametrize(('second', 'linked'), [
    (None, True), (0.0, True), (500.0, False)])
def test_the_same_place_elsewhere_in_the_map_is_no_rival(
    second: float | None, linked: bool
) -> None:
    """By poses where there are any (the second session may lie elsewhere), else by likeness."""
    road = np.arange(0.0, 100.0, 2.5)
    where = None if second is None else [road, road + second]
    place_map = map_of(WORLD.at(road), WORLD.at(road, visit=5), positions=where)
    likenesses = likenesses_of(place_map)
    row = WORLD.at([50.0], visit=1)[0]
    likenesses.take(row, 1.0, keep=True)
    seen = likenesses.of(row, NONE)
    rivals = likenesses.rivals(seen, 20, 20)
    twin = len(road) + 1 + 20
    assert (twin in rivals.linked_nodes) == linked
    assert (rivals.margin > 1.0) == linked
    assert (rivals.gain > 0.3) == linked
    assert (rivals.row == twin - 1) != linked
    assert np.allclose(rivals.keyframe, place_map.descriptors([21])[0], atol=1e-6)


def test_gain_is_not_given_by_a_map_whose_places_differ() -> None:
    """Around the mean of a few keyframes the others point away; that proves no image right."""
    place_map = map_of(WORLD.at(range(0, 60, 6)))
    likenesses = likenesses_of(place_map)
    for row in World(2).at(range(20), visit=1):
        likenesses.take(row, 1.0, keep=True)
        seen = likenesses.of(row, NONE)
        rivals = likenesses.rivals(seen, int(seen.rows[0]), int(seen.nodes[seen.z.argmax()]))
        assert rivals.gain <= rivals.correlation + 1e-6
