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

"""What is measured of a map: spacing, nodes, sessions, and whether it is a route."""

from __future__ import annotations

from made_walks import DIMENSION
from made_walks import map_of
from made_walks import pose_at
from made_walks import STEP_M
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.decision.map_view import distance_m
from vpr_compressed.decision.map_view import MapView
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Keyframe

WORLD = World()


def view_of(place_map: PlaceMap) -> MapView:
    """Return a view that has looked at a map."""
    view = MapView(place_map)
    view.refresh(None)
    return view


@pytest.mark.parametrize(('step', 'fewest', 'most'), [
    (0.1, 5, 12), (0.25, 2, 5), (1.0, 1, 1), (3.0, 1, 1)])
def test_a_node_is_one_change_of_view_long(step: float, fewest: int, most: int) -> None:
    """However densely the map was made; every keyframe belongs to one node."""
    view = view_of(map_of(WORLD.at(np.arange(0.0, 40.0, step), noise=0.2)))
    assert fewest <= view.spacing.stride <= most
    nodes = view.nodes(np.arange(len(view)))
    assert np.array_equal(np.unique(nodes), view.all_nodes())
    assert len(view.all_nodes()) == view.node_count
    assert np.bincount(nodes)[:-1].max(initial=0) <= view.spacing.stride
    assert np.array_equal(view.nodes(view.rows_in(view.all_nodes())), view.all_nodes())


def test_steps_are_worth_what_neighbours_differ_by() -> None:
    """A map of far places takes several changes of view from one to the next."""
    far = view_of(map_of(World(2).at(range(0, 120, 3)))).spacing
    assert 0.3 < far.per_step < 1.0
    assert far.change == pytest.approx(0.4)
    near = view_of(map_of(World(2).at(np.arange(0.0, 30.0, 0.1), noise=0.1))).spacing
    assert near.per_step > 2.0
    assert near.change == pytest.approx(0.1)


def test_sessions_are_two_nodes_apart_and_grow_at_the_end_only() -> None:
    """Numbers of nodes stay while the last session grows, so the belief stays where it is."""
    rows = WORLD.at(range(60))
    place_map = map_of(rows[:20], rows[20:40])
    view = view_of(place_map)
    assert view.all_nodes().tolist() == [*range(20), *range(21, 41)]
    assert view.exist(np.array([0, 19, 20, 21, 40, 41])).tolist() == [
        True, True, False, True, True, False]
    before, version = view.nodes(np.arange(40)), view.version
    for row in rows[40:]:
        place_map.add(row, stamp_ns=0)
        view.refresh(None)
        assert np.array_equal(view.nodes(np.arange(40)), before)
    assert (view.version, view.node_count) == (version, 60)
    place_map.begin_session()
    place_map.add(rows[0], stamp_ns=0)
    view.refresh(None)
    assert int(view.nodes(np.array([60]))[0]) == 62
    assert view.version == version


def test_removed_keyframes_give_nodes_other_numbers() -> None:
    """And say so; a session that was removed whole leaves no gap of its own."""
    rows = WORLD.at(range(60))
    place_map = map_of(rows[:20], rows[20:40], rows[40:])
    view = view_of(place_map)
    version = view.version
    place_map.remove(range(21, 41))
    view.refresh(None)
    assert view.version > version
    assert view.all_nodes().tolist() == [*range(20), *range(21, 41)]
    assert view.rows_of(np.array([20, 21, 40, 41, 99])).tolist() == [19, -1, -1, 20, -1]
    assert view.ids(np.array([19, 20])).tolist() == [20, 41]
    place_map.clear()
    view.refresh(None)
    assert (len(view), view.node_count, view.is_sequence) == (0, 0, False)
    assert view.rows_of(np.array([1])).tolist() == [-1]


def test_the_recent_part_is_not_there() -> None:
    """Neither as a row nor found by a search."""
    place_map = map_of(WORLD.at(range(40)))  # a keyframe a second
    view = MapView(place_map)
    view.refresh(30 * 10 ** 9)
    assert len(view) == 30
    rows, cosines = view.nearest(WORLD.at([35])[0], 40)
    assert sorted(rows.tolist()) == list(range(30))
    assert cosines.tolist() == sorted(cosines.tolist(), reverse=True)


def test_what_a_view_remembers_is_what_the_map_holds() -> None:
    """Also when it is asked for more than it keeps, and after an edit."""
    place_map = map_of(WORLD.at(np.arange(0.0, 100.0, 0.25)))
    view = view_of(place_map)
    for rows in (np.arange(400), np.array([3, 3, 7]), np.arange(399, 100, -1)):
        stored = place_map.descriptors((rows + 1).tolist())
        assert np.array_equal(view.descriptors(rows), stored)
    place_map.remove([1])
    view.refresh(None)
    assert np.array_equal(view.descriptors(np.array([0])), place_map.descriptors([2]))
    assert view.keyframes(np.array([0]))[0].keyframe_id == 2


def test_metres_come_from_the_poses() -> None:
    """Of neighbours; a map without poses has none."""
    assert view_of(map_of(WORLD.at(range(60)), positions=[range(60)])).node_m == (
        pytest.approx(STEP_M))
    assert np.isnan(view_of(map_of(WORLD.at(range(60)))).node_m)


def test_metres_tell_how_many_nodes_they_are_where_nodes_are_evenly_spaced() -> None:
    """A robot that slowed down while it mapped has many keyframes in few metres."""
    steady = view_of(map_of(WORLD.at(range(60)), positions=[[1.1 * i for i in range(60)]]))
    assert steady.even_m == steady.node_m > 0.0
    slowing = [float(i) if i < 30 else 30.0 + 0.4 * (i - 30) for i in range(60)]
    halting = view_of(map_of(WORLD.at(range(60)), positions=[slowing]))
    assert np.isnan(halting.even_m)
    assert halting.node_m > 0.0


@pytest.mark.parametrize('sessions', [1, 2, 3, 4])
def test_a_route_that_was_mapped_again_is_a_route(sessions: int) -> None:
    """With poses and without."""
    rows = [WORLD.at(range(40), visit=visit) for visit in range(sessions)]
    for positions in (None, [range(40)] * sessions):
        assert view_of(map_of(*rows, positions=positions)).is_sequence


@pytest.mark.parametrize('count', [8, 20, 120])
def test_places_in_no_order_are_no_route(count: int) -> None:
    """With poses and without, however few they are."""
    order = np.random.default_rng(5).permutation(count)
    apart = np.random.default_rng(6).standard_normal((count, DIMENSION)).astype(np.float32)
    if count > 8:
        assert not view_of(map_of(apart)).is_sequence
        assert not view_of(map_of(WORLD.at(order))).is_sequence
    assert not view_of(map_of(WORLD.at(order), positions=[order.astype(float)])).is_sequence


def test_distances_need_two_poses_of_one_frame() -> None:
    """Anything else is not known, and no zero."""
    def keyframe(position: float | None, frame_id: str = 'map') -> Keyframe:
        pose = None if position is None else pose_at(position, frame_id)
        return Keyframe(keyframe_id=1, session=1, stamp_ns=0, pose=pose)

    assert distance_m(keyframe(1.0), keyframe(4.0)) == pytest.approx(3 * STEP_M)
    assert distance_m(keyframe(1.0), keyframe(4.0, 'other')) is None
    assert distance_m(keyframe(1.0), keyframe(None)) is None
    assert distance_m(None, keyframe(1.0)) is None
