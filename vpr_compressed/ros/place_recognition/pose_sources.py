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

"""Where a keyframe's pose comes from while mapping: nowhere, a topic, or TF."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from functools import partial
from operator import itemgetter
import threading
from typing import Any
from typing import Protocol

from geometry_msgs.msg import PoseStamped
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node

from vpr_compressed.records import Pose
from vpr_compressed.ros import qos
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.tf import import_tf2
from vpr_compressed.ros.place_recognition.tf import TfPoses
from vpr_compressed.sources.poses import decode_pose
from vpr_compressed.sources.poses import nearest_pose
from vpr_compressed.sources.poses import TimedPose

_MESSAGES = {
    'pose_with_covariance': PoseWithCovarianceStamped, 'pose': PoseStamped, 'odometry': Odometry}
_KEEP = 500
_NS = 1_000_000_000


class PoseSource(Protocol):
    """Something that listens to where the robot is."""

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Return the pose of the robot base at an image's stamp, or None."""

    def close(self) -> None:
        """Stop listening."""


class PoseBuffer:
    """Recent poses in the order of their stamps; one thread adds, another one asks."""

    def __init__(self, tolerance_ns: int, wait_s: float) -> None:
        """
        Start empty.

        :param tolerance_ns: largest difference of the stamps in nanoseconds
        :param wait_s: how long ``nearest`` waits for a pose not older than the image
        """
        self._tolerance_ns = tolerance_ns
        self._wait_s = wait_s
        self._poses: list[TimedPose] = []
        self._arrived = threading.Condition()

    def add(self, stamp_ns: int, pose: Pose) -> None:
        """Keep a pose; a stamp far before the newest means time jumped and forgets the rest."""
        with self._arrived:
            if self._poses and stamp_ns < self._poses[-1][0] - _NS:
                self._poses.clear()
            insort(self._poses, (stamp_ns, pose), key=itemgetter(0))
            del self._poses[:-_KEEP]
            self._arrived.notify_all()

    def nearest(self, stamp_ns: int) -> Pose | None:
        """
        Return the pose nearest in time, or None when none is near enough.

        Until a pose of the image's time or later is there the answer could still get better,
        so that is waited for.
        """
        with self._arrived:
            self._arrived.wait_for(
                lambda: self._poses and self._poses[-1][0] >= stamp_ns, self._wait_s)
            return nearest_pose(self._poses, stamp_ns, self._tolerance_ns)


class TopicPoses:
    """Poses from the topic ``pose``."""

    def __init__(self, node: Node, config: PlaceRecognitionConfig) -> None:
        """
        Subscribe.

        :param node: owner of the subscription
        :param config: message type, tolerance and waiting time
        """
        self._node = node
        self._buffer = PoseBuffer(int(config.pose_tolerance_s * _NS), config.pose_wait_s)
        self._subscription = node.create_subscription(
            _MESSAGES[config.pose_type], 'pose', self._on_pose, qos.results(50),
            qos_overriding_options=qos.overridable())

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Return the pose nearest in time, or None."""
        return self._buffer.nearest(stamp_ns)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_pose(self, message: Any) -> None:
        try:
            self._buffer.add(*decode_pose(message))
        except ValueError as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)


def pose_source(
    node: Node, config: PlaceRecognitionConfig
) -> Callable[[], PoseSource] | None:
    """
    Return what opens the pose source the parameters ask for.

    :returns: None for keyframes without poses: places are then recognised by number only
    :raises ConfigError: TF is wanted and tf2_ros is not installed
    """
    if config.pose_source == 'topic_pose':
        return partial(TopicPoses, node, config)
    if config.pose_source == 'tf':
        return partial(TfPoses, import_tf2('pose_source: tf'), node, config)
    return None
