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

"""Pose messages are read the same way live and from a bag, and never look surer than they are."""

from __future__ import annotations

import array
from collections.abc import Callable
from collections.abc import Sequence
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_compressed.records import Pose
from vpr_compressed.sources.poses import decode_pose
from vpr_compressed.sources.poses import decode_poses
from vpr_compressed.sources.poses import nearest_pose
from vpr_compressed.sources.poses import POSE_TOLERANCE_NS
from vpr_compressed.sources.poses import UNKNOWN_VARIANCE

NS = 1_000_000_000
UP = (0.0, 0.0, 0.0, 1.0)
#: What holds a covariance: NumPy arrays in rclpy and rosbags, plain sequences elsewhere.
STORES: tuple[Callable[[Sequence[float]], Any], ...] = (
    np.array, list, lambda values: array.array('d', values))


def message(
    variances: Any = None, *, position: Sequence[float] = (1.0, 2.0, 3.0),
    quaternion: Sequence[float] = UP, stamp_ns: int = 5 * NS + 7, frame_id: str = 'odom',
    store: Callable[[Sequence[float]], Any] = np.array
) -> Any:
    """Return what looks like a PoseStamped, or with variances like an Odometry message."""
    pose = SimpleNamespace(
        position=SimpleNamespace(**dict(zip('xyz', position))),
        orientation=SimpleNamespace(**dict(zip('xyzw', quaternion))))
    if variances is not None:
        covariance = store(np.diag(variances).reshape(-1).tolist())
        pose = SimpleNamespace(pose=pose, covariance=covariance)
    stamp = SimpleNamespace(sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp, frame_id=frame_id), pose=pose)


@pytest.mark.parametrize('store', STORES)
def test_pose_covariance_stamp_and_frame_are_read(store: Callable[..., Any]) -> None:
    """The diagonal is x, y, z, roll, pitch, yaw; all of it plain numbers."""
    variances = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    stamp_ns, pose = decode_pose(message(variances, store=store))
    assert stamp_ns == 5 * NS + 7
    assert pose == Pose(position_m=(1.0, 2.0, 3.0), orientation_xyzw=UP, frame_id='odom',
                        covariance_diagonal=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    assert {type(value) for value in pose.covariance_diagonal} == {float}


@pytest.mark.parametrize('store', STORES)
@pytest.mark.parametrize(
    'senseless', [math.nan, math.inf, -math.inf, -1.0, -1e-12, 1e300, 2 * UNKNOWN_VARIANCE])
def test_covariance_that_cannot_be_one_never_looks_certain(
    senseless: float, store: Callable[..., Any]
) -> None:
    """Zero would make a place of unknown position the surest one of the map."""
    _, pose = decode_pose(message([0.25, senseless, 0.0, 0.0, 0.0, senseless], store=store))
    assert pose.covariance_diagonal == (
        0.25, UNKNOWN_VARIANCE, 0.0, 0.0, 0.0, UNKNOWN_VARIANCE)
    assert UNKNOWN_VARIANCE == 1e9


def test_covariance_of_zeros_is_none() -> None:
    """A sender that fills in nothing says as much as a PoseStamped does."""
    _, unfilled = decode_pose(message([0.0] * 6))
    _, plain = decode_pose(message())
    assert unfilled == plain
    assert plain.covariance_diagonal == (0.0,) * 6


@pytest.mark.parametrize('length', [1e-5, 0.5, 1.02, 300.0, 1e200])
def test_quaternion_is_made_unit(length: float) -> None:
    """Float32 senders and hand-written ones are a little off; the direction is what counts."""
    turn = (0.0, 0.6 * length, 0.0, 0.8 * length)
    _, pose = decode_pose(message(quaternion=turn))
    assert pose.orientation_xyzw == pytest.approx((0.0, 0.6, 0.0, 0.8))
    assert math.hypot(*pose.orientation_xyzw) == pytest.approx(1.0)


@pytest.mark.parametrize('fields', [
    {'quaternion': (0.0, 0.0, 0.0, 0.0)}, {'quaternion': (0.0, 0.0, 0.0, 1e-7)},
    {'quaternion': (0.0, math.nan, 0.0, 1.0)}, {'quaternion': (0.0, math.inf, 0.0, 1.0)},
    {'position': (0.0, math.nan, 0.0)}, {'position': (0.0, 0.0, -math.inf)}])
def test_pose_without_meaning_is_refused_and_left_out(fields: dict[str, Any]) -> None:
    """An all-zero quaternion is what an unfilled message has; it is no direction."""
    with pytest.raises(ValueError, match='is not a pose; its source must publish finite'):
        decode_pose(message(**fields))
    good = message(stamp_ns=1)
    assert decode_poses([message(**fields), good]) == [decode_pose(good)]


def test_header_without_a_frame_means_map() -> None:
    """The frame of the map is called so by REP-105."""
    assert decode_pose(message(frame_id=''))[1].frame_id == 'map'


def test_poses_come_in_the_order_of_their_stamps() -> None:
    """A bag may hold them otherwise."""
    stamps = [stamp for stamp, _ in decode_poses(message(stamp_ns=s) for s in (30, 10, 20))]
    assert stamps == [10, 20, 30]


@pytest.mark.parametrize('side', [-1, 1])
def test_gap_of_exactly_the_tolerance_is_allowed(side: int) -> None:
    """The image may come before or after; one nanosecond more is too far."""
    entry = decode_pose(message(stamp_ns=10 * NS))
    assert POSE_TOLERANCE_NS == NS // 10
    for tolerance_ns in (POSE_TOLERANCE_NS, 0, 7):
        at_limit = 10 * NS + side * tolerance_ns
        assert nearest_pose([entry], at_limit, tolerance_ns) == entry[1]
        assert nearest_pose([entry], at_limit + side, tolerance_ns) is None
    assert nearest_pose([entry], 10 * NS + side * POSE_TOLERANCE_NS) == entry[1]
    assert nearest_pose([entry], 10 * NS + side * (POSE_TOLERANCE_NS + 1)) is None


def test_nearest_of_several_is_taken() -> None:
    """The earlier one of two equally near, and none from an empty list."""
    poses = [(stamp, Pose(position_m=(float(stamp), 0.0, 0.0))) for stamp in (0, 10, 20)]
    found = {stamp: nearest_pose(poses, stamp, 6) for stamp in (-6, 4, 5, 6, 14, 16, 26)}
    assert {stamp: pose and pose.position_m[0] for stamp, pose in found.items()} == {
        -6: 0.0, 4: 0.0, 5: 0.0, 6: 10.0, 14: 10.0, 16: 20.0, 26: 20.0}
    assert nearest_pose([], 0, 6) is None
