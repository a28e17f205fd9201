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

"""Where the robot is, from a topic or TF: in the map for keyframes, and in odometry."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from functools import partial
import importlib
from operator import itemgetter
import threading
from typing import Any

from geometry_msgs.msg import PoseStamped
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.callback_groups import CallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from vpr_compressed.errors import ConfigError
from vpr_compressed.records import Pose
from vpr_compressed.ros import qos
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.sources.frames import stamp_to_ns
from vpr_compressed.sources.poses import decode_pose
from vpr_compressed.sources.poses import nearest_pose
from vpr_compressed.sources.poses import TimedPose

_MESSAGES = {
    'pose_with_covariance': PoseWithCovarianceStamped, 'pose': PoseStamped, 'odometry': Odometry}
#: Odometry of the robot base, for the decision.
ODOMETRY_TOPIC = 'odom'
#: Poses kept, and readings of odometry that wait for an image: half a second at 200 a second.
_KEEP, _WAITING = 500, 100
_NS = 1_000_000_000


class PoseBuffer:
    """Recent poses in the order of their stamps; one thread adds, another one asks."""

    def __init__(self, tolerance_ns: int, wait_s: float) -> None:
        """
        Start empty.

        :param tolerance_ns: largest difference of the stamps in nanoseconds
        :param wait_s: how long ``pose_at`` waits for a pose not older than the image
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

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """
        Return the pose nearest in time, or None when none is near enough.

        Until a pose of the image's time or later is there the answer could still get better,
        so that is waited for.
        """
        with self._arrived:
            self._arrived.wait_for(
                lambda: self._poses and self._poses[-1][0] >= stamp_ns, self._wait_s)
            return nearest_pose(self._poses, stamp_ns, self._tolerance_ns)


class TopicPoses(PoseBuffer):
    """Poses from the topic ``pose``, heard until it is closed."""

    def __init__(self, node: Node, config: PlaceRecognitionConfig) -> None:
        """
        Subscribe.

        :param node: owner of the subscription
        :param config: message type, tolerance and waiting time
        """
        super().__init__(int(config.pose_tolerance_s * _NS), config.pose_wait_s)
        self._node = node
        self._subscription = node.create_subscription(
            _MESSAGES[config.pose_type], 'pose', self._on_pose, qos.results(50),
            qos_overriding_options=qos.overridable())

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_pose(self, message: Any) -> None:
        try:
            self.add(*decode_pose(message))
        except ValueError as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)


class OnDemand(CallbackGroup):
    """Keeps executors from taking messages; whoever wants one takes it from the subscription."""

    def can_execute(self, entity: Any) -> bool:  # noqa: ARG002
        """Return that nothing is ever to be called."""
        return False

    beginning_execution = can_execute

    def ending_execution(self, entity: Any) -> None:
        """Do nothing: nothing was called."""


class OdometryPoses(PoseBuffer):
    """
    Poses from the topic ``odom``, read when an image wants one and never waited for.

    An executor that wakes up for each of 50 readings a second takes 5 % of a desktop core; here
    they wait in the middleware.
    """

    def __init__(self, node: Node, tolerance_s: float) -> None:
        """
        Subscribe.

        :param node: owner of the subscription
        :param tolerance_s: largest difference of the stamps in seconds
        """
        super().__init__(int(tolerance_s * _NS), 0.0)
        self._node = node
        self._subscription = node.create_subscription(
            Odometry, ODOMETRY_TOPIC, lambda _: None, qos.samples(_WAITING),
            callback_group=OnDemand(), qos_overriding_options=qos.overridable())

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Return the pose nearest in time of those that have arrived, or None."""
        handle: Any = self._subscription.handle
        with handle:
            while (taken := handle.take_message(Odometry, False)) is not None:
                try:
                    self.add(*decode_pose(taken[0]))
                except ValueError as error:
                    self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)
        return super().pose_at(stamp_ns)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)


class TfPoses:
    """Poses of the robot base in one frame from TF, heard until it is closed."""

    def __init__(
        self, tf2: Any, node: Node, base: str, frame: str, *, wait_s: float = 0.0,
        tolerance_s: float = 0.0
    ) -> None:
        """
        Subscribe to /tf and /tf_static.

        :param tf2: see :func:`import_tf2`
        :param base: frame of the robot base
        :param frame: frame of the poses
        :param wait_s: how long ``pose_at`` waits for a transform, in seconds
        :param tolerance_s: how far from the image the newest transform may be that is taken
            where there is none of its time, in seconds
        """
        self._tf2, self._node = tf2, node
        self._base, self._frame = base, frame
        self._wait = Duration(nanoseconds=int(wait_s * _NS))
        self._tolerance_ns = int(tolerance_s * _NS)
        self._buffer = tf2.Buffer()
        self._listener = tf2.TransformListener(self._buffer, node)

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Return the pose of the base at this time, or None after a throttled warning."""
        try:
            found = self._lookup(stamp_ns)
        except self._tf2.TransformException as error:
            self._node.get_logger().warning(
                f'no TF from {self._frame} to {self._base} at the image: {error}',
                throttle_duration_sec=5.0)
            return None
        place, turn = found.translation, found.rotation
        return Pose(position_m=(place.x, place.y, place.z),
                    orientation_xyzw=(turn.x, turn.y, turn.z, turn.w), frame_id=self._frame)

    def _lookup(self, stamp_ns: int) -> Any:
        """Return the transform of a time, else the newest one if it is near enough."""
        clock = self._node.get_clock().clock_type
        frames, when = (self._frame, self._base), Time(nanoseconds=stamp_ns, clock_type=clock)
        try:
            return self._buffer.lookup_transform(*frames, when, self._wait).transform
        except self._tf2.TransformException:
            newest = self._buffer.lookup_transform(*frames, Time(clock_type=clock), Duration())
            if abs(stamp_to_ns(newest.header.stamp) - stamp_ns) > self._tolerance_ns:
                raise
            return newest.transform

    def close(self) -> None:
        """Unsubscribe."""
        self._listener.unregister()


PoseSource = TopicPoses | OdometryPoses | TfPoses


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
        return partial(TfPoses, import_tf2('pose_source: tf'), node, config.base_frame,
                       config.map_frame, wait_s=config.pose_wait_s)
    return None


def odometry_source(
    node: Node, config: PlaceRecognitionConfig
) -> Callable[[], PoseSource] | None:
    """
    Return what opens the odometry the parameters ask for; no image ever waits for it.

    :returns: None for a decision that goes by the images alone, as it does while mapping only
    :raises ConfigError: TF is wanted and tf2_ros is not installed
    """
    if config.odometry_source == 'none' or config.mode == 'mapping':
        return None
    if config.odometry_source == 'tf':
        return partial(TfPoses, import_tf2('odometry_source: tf'), node, config.base_frame,
                       config.odom_frame, tolerance_s=config.pose_tolerance_s)
    return partial(OdometryPoses, node, config.pose_tolerance_s)


class RobotPoses:
    """Where the robot is in the map and in odometry, while it is open."""

    def __init__(self, node: Node, config: PlaceRecognitionConfig) -> None:
        """
        Look at what the parameters ask for; nothing is heard before ``open``.

        :param node: owner of the subscriptions
        :raises ConfigError: TF is wanted and tf2_ros is not installed
        """
        self._makers = pose_source(node, config), odometry_source(node, config)
        self._map: PoseSource | None = None
        self._odometry: PoseSource | None = None

    @property
    def needed(self) -> bool:
        """Whether an image without a pose in the map is no keyframe."""
        return self._makers[0] is not None

    def open(self) -> None:  # noqa: A003
        """Listen."""
        self._map, self._odometry = (make and make() for make in self._makers)

    def in_map(self, stamp_ns: int) -> Pose | None:
        """Return the pose for a keyframe, None where there is none for this time."""
        return None if self._map is None else self._map.pose_at(stamp_ns)

    def in_odometry(self, stamp_ns: int) -> Pose | None:
        """Return the pose for the decision, None where there is none for this time."""
        return None if self._odometry is None else self._odometry.pose_at(stamp_ns)

    def close(self) -> None:
        """Listen no more; may be called twice."""
        for source in (self._map, self._odometry):
            if source is not None:
                source.close()
        self._map, self._odometry = None, None


def import_tf2(wish: str) -> Any:
    """
    Return the package tf2_ros.

    :param wish: parameter that needs it
    :raises ConfigError: it is not installed
    """
    try:
        return importlib.import_module('tf2_ros')
    except ImportError as error:
        raise ConfigError(
            f'parameter {wish} needs the Python package tf2_ros, which cannot be imported '
            f'({error}); install ros-$ROS_DISTRO-tf2-ros-py or take the poses from a topic '
            '(pose_source: topic_pose, odometry_source: topic)') from error
