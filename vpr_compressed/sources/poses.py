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

"""Poses of a recorded pose topic, looked up by time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
import math
from typing import Any

import numpy as np

from vpr_compressed.records import Pose

#: A pose further than this from the image says nothing about where the image was taken.
MAX_GAP_NS = 500_000_000
#: Two fixes of a satellite receiver further apart than this say nothing about the way between.
MAX_FIX_GAP_NS = 3_000_000_000
_DIAGONAL = (0, 7, 14, 21, 28, 35)


class PoseTrack:
    """Poses in order of their stamps."""

    def __init__(self, entries: Iterable[tuple[int, Pose]], *, interpolate: bool = False) -> None:
        """
        Sort the poses.

        :param entries: stamp in nanoseconds and pose, see :func:`poses_of`
        :param interpolate: whether to go straight from one position to the next; for satellite
            receivers, whose one fix a second is too coarse at the speed of a car
        """
        ordered = sorted(entries, key=lambda entry: entry[0])
        self._stamps = np.array([stamp for stamp, _ in ordered], np.int64)
        self._poses = [pose for _, pose in ordered]
        self._interpolate = interpolate

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self._poses)

    def at(self, stamp_ns: int) -> Pose | None:
        """
        Return the pose at a time.

        :returns: the pose nearest in time, None if none is within half a second; with
            interpolation the position on the way between two fixes at most three seconds apart
        """
        after = int(np.searchsorted(self._stamps, stamp_ns))
        if self._interpolate and 0 < after < len(self._poses):
            first, second = int(self._stamps[after - 1]), int(self._stamps[after])
            if second - first <= MAX_FIX_GAP_NS:
                share = (stamp_ns - first) / (second - first)
                return _between(self._poses[after - 1], self._poses[after], share)
        near = [i for i in (after - 1, after) if 0 <= i < len(self._poses)]
        if not near:
            return None
        best = min(near, key=lambda i: abs(int(self._stamps[i]) - stamp_ns))
        gap_ns = abs(int(self._stamps[best]) - stamp_ns)
        return self._poses[best] if gap_ns <= MAX_GAP_NS else None


def poses_of(messages: Iterable[Any]) -> list[tuple[int, Pose]]:
    """
    Return stamp in nanoseconds and pose of every message whose values are finite.

    :param messages: Odometry, PoseStamped or PoseWithCovarianceStamped, of rclpy or rosbags
    """
    return [entry for message in messages if (entry := _entry(message)) is not None]


def _between(first: Pose, second: Pose, share: float) -> Pose:
    """Return the pose a share of the way from one to the next, as uncertain as the worse one."""
    x, y, z = (
        one + share * (other - one) for one, other in zip(first.position_m, second.position_m))
    worse = first if first.covariance_diagonal > second.covariance_diagonal else second
    return replace(worse, position_m=(x, y, z))


def _entry(message: Any) -> tuple[int, Pose] | None:
    """Return stamp and pose of one message, or None when the pose makes no sense."""
    stamp = message.header.stamp
    pose = message.pose
    covariance = getattr(pose, 'covariance', None)
    pose = pose if covariance is None else pose.pose
    place = (float(pose.position.x), float(pose.position.y), float(pose.position.z))
    turn = (
        float(pose.orientation.x), float(pose.orientation.y), float(pose.orientation.z),
        float(pose.orientation.w))
    norm = math.sqrt(sum(value * value for value in turn))
    if not all(map(math.isfinite, place)) or not math.isfinite(norm) or norm < 1e-6:
        return None
    x, y, z, w = (value / norm for value in turn)
    variances = [0.0] * 6 if covariance is None else [float(covariance[i]) for i in _DIAGONAL]
    v = [value if math.isfinite(value) and value >= 0 else 0.0 for value in variances]
    return stamp.sec * 10**9 + stamp.nanosec, Pose(
        position_m=place, orientation_xyzw=(x, y, z, w),
        frame_id=message.header.frame_id or 'map',
        covariance_diagonal=(v[0], v[1], v[2], v[3], v[4], v[5]))
