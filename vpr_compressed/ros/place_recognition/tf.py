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

"""TF in and out; tf2_ros is imported only when a parameter asks for it."""

from __future__ import annotations

import importlib
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from vpr_compressed.errors import ConfigError
from vpr_compressed.records import Pose
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import NO_ROTATION
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.sources.poses import unit_quaternion

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Transform = tuple[Vector, Quaternion]
#: How long a transform of odometry may be late, in seconds.
_ODOM_WAIT_S = 0.1


class Frames:
    """The tree of frames, heard from its making until it is closed."""

    def __init__(self, tf2: Any, node: Node, config: PlaceRecognitionConfig) -> None:
        """
        Subscribe to /tf and /tf_static.

        :param tf2: see :func:`import_tf2`
        :param config: names of the frames
        """
        self._tf2 = tf2
        self._node = node
        self._config = config
        self._buffer = tf2.Buffer()
        self._listener = tf2.TransformListener(self._buffer, node)

    def lookup(self, target: str, stamp_ns: int, wait_s: float) -> Transform | None:
        """Return target_T_base at a time, or None after a throttled warning."""
        source = self._config.base_frame
        try:
            time = Time(nanoseconds=stamp_ns, clock_type=self._node.get_clock().clock_type)
            wait = Duration(nanoseconds=int(wait_s * 1e9))
            found = self._buffer.lookup_transform(target, source, time, wait).transform
        except self._tf2.TransformException as error:
            self._node.get_logger().warning(
                f'no TF from {target} to {source} at the image: {error}',
                throttle_duration_sec=5.0)
            return None
        place, turn = found.translation, found.rotation
        return (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w)

    def close(self) -> None:
        """Unsubscribe."""
        self._listener.unregister()


class TfPoses(Frames):
    """Poses of the robot base in the map from TF."""

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Return the pose of the base in the map at this time, or None when TF does not know."""
        config = self._config
        found = self.lookup(config.map_frame, stamp_ns, config.pose_wait_s)
        if found is None:
            return None
        return Pose(position_m=found[0], orientation_xyzw=found[1], frame_id=config.map_frame)


class MapToOdom(Frames):
    """Publishes map->odom so that the base ends up where it was recognised."""

    def __init__(self, tf2: Any, node: Node, config: PlaceRecognitionConfig) -> None:
        """Start listening to TF; parameters as for ``Frames``."""
        super().__init__(tf2, node, config)
        self._broadcaster = tf2.TransformBroadcaster(node)

    def publish(self, pose: Pose, stamp_ns: int) -> None:
        """
        Publish the correction that a recognised pose of the base implies.

        :param pose: pose of the base in the map at the image's stamp
        :param stamp_ns: stamp of the image; odom->base is looked up there
        """
        config = self._config
        odom_to_base = self.lookup(config.odom_frame, stamp_ns, _ODOM_WAIT_S)
        if odom_to_base is None:
            return
        offset, rotation = compose(
            (pose.position_m, _unit(pose.orientation_xyzw)), inverse(odom_to_base))
        message = TransformStamped(
            header=header_at(stamp_ns, pose.frame_id or config.map_frame),
            child_frame_id=config.odom_frame)
        place, turn = message.transform.translation, message.transform.rotation
        place.x, place.y, place.z = offset
        turn.x, turn.y, turn.z, turn.w = rotation
        self._broadcaster.sendTransform(message)


def compose(first: Transform, second: Transform) -> Transform:
    """Return the transform that applies ``second``, then ``first`` (a_T_b, b_T_c -> a_T_c)."""
    moved = rotate(first[1], second[0])
    position = (first[0][0] + moved[0], first[0][1] + moved[1], first[0][2] + moved[2])
    return position, _unit(multiply(first[1], second[1]))


def inverse(transform: Transform) -> Transform:
    """Return the transform back."""
    x, y, z, w = transform[1]
    back = (-x, -y, -z, w)
    moved = rotate(back, transform[0])
    return (-moved[0], -moved[1], -moved[2]), back


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Return the quaternion product, xyzw."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (aw * bx + ax * bw + ay * bz - az * by, aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw, aw * bw - ax * bx - ay * by - az * bz)


def rotate(quaternion: Quaternion, vector: Vector) -> Vector:
    """Return a vector turned by a unit quaternion."""
    x, y, z, w = quaternion
    turned = multiply(multiply(quaternion, (*vector, 0.0)), (-x, -y, -z, w))
    return turned[:3]


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
            '(pose_source: topic_pose)') from error


def _unit(quaternion: Quaternion) -> Quaternion:
    """Return a quaternion with norm 1; no rotation for one without direction."""
    return unit_quaternion(quaternion) or NO_ROTATION
