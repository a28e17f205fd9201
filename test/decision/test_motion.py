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

"""How far the robot went: by its view, by odometry, or not at all."""

from __future__ import annotations

import math

from made_walks import accepted
from made_walks import decide
from made_walks import map_of
from made_walks import pose_at
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.decision.map_view import Spacing
from vpr_compressed.decision.motion import Motion
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Pose

SPACING = Spacing(change=0.2, per_step=3.0)


def turned_by(change: float) -> DescriptorArray:
    """Return a descriptor whose view differs from the first axis by a change (1 - cosine)."""
    cosine = 1.0 - change
    return np.array([cosine, math.sqrt(max(1.0 - cosine ** 2, 0.0))], np.float32)


def after_first(odometry: Pose | None = None) -> Motion:
    """Return a motion that has kept one image."""
    motion = Motion()
    assert motion.step(turned_by(0.0), odometry, SPACING, math.nan).keep
    motion.keep()
    return motion


@pytest.mark.parametrize(('change', 'share', 'keep'), [
    (0.0, 0.0, False), (0.07, 0.35, False), (0.09, 0.45, True), (0.2, 1.0, True),
    (0.9, 1.0, True)])
def test_movement_is_change_of_view(change: float, share: float, keep: bool) -> None:
    """Of what the map's keyframes differ by, at most all of it."""
    step = after_first().step(turned_by(change), None, SPACING, math.nan)
    assert step.change == pytest.approx(share, abs=1e-5)
    assert (step.keep, step.from_odometry) == (keep, False)
    assert step.steps == pytest.approx(share ** 1.5, abs=1e-4)


def test_small_changes_add_up() -> None:
    """Each is compared with the last image that counted, not with the last one."""
    motion = after_first()
    kept = []
    for i in range(1, 9):
        step = motion.step(turned_by(0.03 * i), None, SPACING, math.nan)
        kept.append(step.keep)
        if step.keep:
            motion.keep()
    assert kept[:3] == [False, False, True]


def test_three_images_of_one_view_are_standing() -> None:
    """Until the view changes; the first image ever is a new view."""
    motion = after_first()
    standing = [motion.step(turned_by(0.0), None, SPACING, math.nan).standing for _ in range(4)]
    assert standing == [False, False, True, True]
    assert not motion.step(turned_by(0.2), None, SPACING, math.nan).standing
    motion.reset()
    first = motion.step(turned_by(0.0), None, SPACING, math.nan)
    assert (first.keep, first.standing, first.change) == (True, False, 1.0)


def test_odometry_says_how_far_it_was_where_the_map_has_metres() -> None:
    """Without them, or in another frame, the view does; a jump is not believed whole."""
    start = pose_at(0.0, 'odom')
    for pose, node_m, steps in (
            (pose_at(3.0, 'odom'), 2.0, 3.0), (pose_at(3.0, 'odom'), 4.0, 1.5),
            (pose_at(500.0, 'odom'), 2.0, 8.0)):
        step = after_first(start).step(turned_by(0.1), pose, SPACING, node_m)
        assert (step.steps, step.from_odometry) == (pytest.approx(steps), True)
    for before, now, node_m in (
            (start, pose_at(3.0, 'other'), 2.0), (start, None, 2.0),
            (None, pose_at(3.0, 'odom'), 2.0), (start, pose_at(3.0, 'odom'), math.nan)):
        step = after_first(before).step(turned_by(0.1), now, SPACING, node_m)
        assert (step.steps, step.from_odometry) == (pytest.approx(0.5 ** 1.5, abs=1e-4), False)


def test_a_robot_that_stands_by_odometry_has_not_moved() -> None:
    """Whatever passes by in front of it; one that turned on the spot has."""
    start = Pose(position_m=(1.0, 2.0, 0.0), frame_id='odom')
    near = Pose(position_m=(1.01, 2.0, 0.0), frame_id='odom')
    for node_m in (2.0, math.nan):
        step = after_first(start).step(turned_by(0.2), near, SPACING, node_m)
        assert (step.steps, step.from_odometry) == (0.0, True)
    half = math.radians(10.0) / 2.0
    turned = Pose(
        position_m=(1.0, 2.0, 0.0), orientation_xyzw=(0.0, 0.0, math.sin(half), math.cos(half)),
        frame_id='odom')
    assert not after_first(start).step(turned_by(0.2), turned, SPACING, math.nan).from_odometry
    minus = Pose(
        position_m=(1.0, 2.0, 0.0), orientation_xyzw=(0.0, 0.0, 0.0, -1.0), frame_id='odom')
    step = after_first(start).step(turned_by(0.2), minus, SPACING, math.nan)
    assert (step.steps, step.from_odometry) == (0.0, True)


def test_odometry_counts_places_that_all_look_the_same() -> None:
    """In a corridor without marks the view does not tell how far it is; wheels do."""
    world = World()
    world.make_uniform(40, 30)
    place_map = map_of(world.at(range(120), noise=0.5), positions=[range(120)])
    positions = list(range(20, 58))
    walk = world.at(positions, visit=1, noise=0.5)
    wrong = {}
    for name, frames in (('none', None), ('odom', ['odom'] * 38), ('jumping', ['a', 'b'] * 19)):
        odometry = frames and [pose_at(p, frame) for p, frame in zip(positions, frames)]
        decisions = decide(place_map, walk, odometry=odometry)
        wrong[name] = [abs(d.keyframe.keyframe_id - 1 - p)
                       for d, p in zip(decisions, positions) if d.keyframe]
    assert max(wrong['odom']) <= 3
    assert np.mean(wrong['odom'][20:]) < 0.5 * np.mean(wrong['none'][20:])
    assert wrong['jumping'] == wrong['none']


def test_a_place_does_not_drift_while_the_wheels_stand() -> None:
    """People walk through the picture; the keyframe stays within the place it was."""
    world = World()
    place_map = map_of(world.at(range(120)), positions=[range(120)])
    positions = [*range(10, 30), *[29] * 20]
    rows = np.concatenate([
        world.at(range(10, 30), visit=1), world.at([29.0] * 20, visit=4, noise=1.2)])
    decisions = decide(place_map, rows, odometry=[pose_at(p, 'odom') for p in positions])
    assert {d.keyframe.keyframe_id for d in decisions[20:] if d.keyframe} <= {29, 30, 31}
    assert all(n in (None, 29, 30, 31) for n in accepted(decisions)[20:])
