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

"""TF map->odom out of an accepted place."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node

from vpr_compressed.records import Pose
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import Quaternion
from vpr_compressed.ros.conversions import rotation
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.poses import TfPoses

Vector = tuple[float, float, float]
#: How long a transform of odometry may be late, in seconds.
_ODOM_WAIT_S = 0.1


class MapToOdom:
    """Publishes map->odom so that the base ends up where it was recognised."""

    def __init__(self, tf2: Any, node: Node, config: PlaceRecognitionConfig) -> None:
        """
        Start listening to TF.

        :param tf2: see :func:`.import_tf2`
        :param config: names of the frames
        """
        self._config = config
        self._odometry = TfPoses(
            tf2, node, config.base_frame, config.odom_frame, wait_s=_ODOM_WAIT_S)
        self._broadcaster = tf2.TransformBroadcaster(node)

    def publish(self, pose: Pose, stamp_ns: int) -> None:
        """
        Publish the correction that a recognised pose of the base implies.

        :param pose: pose of the base in the map at the image's stamp
        :param stamp_ns: stamp of the image; odom->base is looked up there
        """
        base = self._odometry.pose_at(stamp_ns)
        if base is None:
            return
        config = self._config
        message = TransformStamped(
            header=header_at(stamp_ns, pose.frame_id or config.map_frame),
            child_frame_id=config.odom_frame)
        place, turn = message.transform.translation, message.transform.rotation
        (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w) = correction(pose, base)
        self._broadcaster.sendTransform(message)

    def close(self) -> None:
        """Stop listening."""
        self._odometry.close()


def correction(map_to_base: Pose, odom_to_base: Pose) -> tuple[Vector, Quaternion]:
    """Return offset and rotation of map->odom that make two poses of the base agree."""
    x, y, z, w = odom_to_base.orientation_xyzw
    turned = rotation(multiply(rotation(map_to_base.orientation_xyzw), (-x, -y, -z, w)))
    x, y, z = (there - moved for there, moved in zip(
        map_to_base.position_m, rotate(turned, odom_to_base.position_m)))
    return (x, y, z), turned


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
