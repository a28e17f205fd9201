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
Pose messages, live and from a bag, and which of several poses belongs to an image.

Messages may come from rclpy or rosbags: only their fields are looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Sequence
import math
from operator import itemgetter
from typing import Any

from vpr_compressed.records import Pose
from vpr_compressed.sources.frames import stamp_to_ns

#: Largest difference between the stamps of an image and its pose, in nanoseconds: 0.1 s.
POSE_TOLERANCE_NS = 100_000_000
#: Variance of what is not known, in m^2 or rad^2; also the largest one that Nav2 accepts.
UNKNOWN_VARIANCE = 1e9

TimedPose = tuple[int, Pose]


def decode_pose(message: Any) -> TimedPose:
    """
    Return stamp and pose of a PoseStamped, PoseWithCovarianceStamped or Odometry message.

    A variance that cannot be one (NaN, infinite, negative) becomes ``UNKNOWN_VARIANCE``, so that
    it never looks certain. Zeros stay: a message whose sender fills in no covariance then equals
    one that has none.

    :param message: of rclpy or rosbags
    :returns: stamp in nanoseconds, pose in the frame of the message's header (``map`` if empty)
    :raises ValueError: the position is not finite, or the quaternion has no direction
    """
    pose = message.pose
    x, y, z, roll, pitch, yaw = (0.0,) * 6
    if hasattr(pose, 'covariance'):
        x, y, z, roll, pitch, yaw = map(usable_variance, pose.covariance[::7])
        pose = pose.pose
    place, turn = pose.position, pose.orientation
    position = (float(place.x), float(place.y), float(place.z))
    quaternion = (float(turn.x), float(turn.y), float(turn.z), float(turn.w))
    unit = unit_quaternion(quaternion)
    if unit is None or not all(map(math.isfinite, position)):
        raise ValueError(
            f'pose {position}, {quaternion} is not a pose; its source must publish finite numbers '
            'and a unit quaternion')
    return stamp_to_ns(message.header.stamp), Pose(
        position_m=position, orientation_xyzw=unit, frame_id=message.header.frame_id or 'map',
        covariance_diagonal=(x, y, z, roll, pitch, yaw))


def decode_poses(messages: Iterable[Any]) -> list[TimedPose]:
    """Return the messages that :func:`decode_pose` can read, by stamp; leave out the others."""
    poses = []
    for message in messages:
        try:
            poses.append(decode_pose(message))
        except ValueError:
            continue
    return sorted(poses, key=itemgetter(0))


def nearest_pose(
    poses: Sequence[TimedPose], stamp_ns: int, tolerance_ns: int = POSE_TOLERANCE_NS
) -> Pose | None:
    """
    Return the pose nearest in time, the earlier one of two equally near.

    :param poses: by stamp
    :param stamp_ns: time of the image in nanoseconds
    :param tolerance_ns: largest difference allowed, in nanoseconds
    :returns: None when no pose is near enough
    """
    after = bisect_left(poses, stamp_ns, key=itemgetter(0))
    around = poses[max(after - 1, 0):after + 1]
    gap_ns, pose = min(
        ((abs(stamp - stamp_ns), pose) for stamp, pose in around),
        key=itemgetter(0), default=(0, None))
    return pose if gap_ns <= tolerance_ns else None


def unit_quaternion(
    quaternion: tuple[float, float, float, float]
) -> tuple[float, float, float, float] | None:
    """Return a quaternion with norm 1, or None when it is not finite or has no direction."""
    norm = math.hypot(*quaternion)
    if not 1e-6 <= norm < math.inf:
        return None
    x, y, z, w = quaternion
    return x / norm, y / norm, z / norm, w / norm


def usable_variance(value: Any) -> float:
    """Return a variance that is finite, not negative, and at most the unknown one."""
    variance = float(value)
    return min(variance, UNKNOWN_VARIANCE) if variance >= 0.0 else UNKNOWN_VARIANCE
