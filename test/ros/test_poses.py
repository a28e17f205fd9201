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

"""The pose of an image: nearest in time, waited for, or from TF."""

from __future__ import annotations

import math
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

from geometry_msgs.msg import TransformStamped
import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node

from vpr_compressed.errors import ConfigError
from vpr_compressed.records import Pose
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.map_to_odom import correction
from vpr_compressed.ros.place_recognition.map_to_odom import MapToOdom
from vpr_compressed.ros.place_recognition.outputs import Outputs
from vpr_compressed.ros.place_recognition.poses import odometry_source
from vpr_compressed.ros.place_recognition.poses import pose_source
from vpr_compressed.ros.place_recognition.poses import PoseBuffer
from vpr_compressed.ros.place_recognition.poses import RobotPoses

NS = 1_000_000_000
SIN45 = math.sqrt(0.5)


def at(x_m: float) -> Pose:
    """Return a pose on the x axis."""
    return Pose(position_m=(x_m, 0.0, 0.0))


def test_the_pose_nearest_in_time_is_taken() -> None:
    """Between two poses the nearer one, none beyond the tolerance."""
    buffer = PoseBuffer(tolerance_ns=NS // 10, wait_s=0.0)
    for number in range(5):
        buffer.add(number * NS, at(float(number)))
    assert buffer.pose_at(2 * NS + 40_000_000) == at(2.0)
    assert buffer.pose_at(3 * NS - 40_000_000) == at(3.0)
    assert buffer.pose_at(2 * NS + NS // 2) is None
    assert buffer.pose_at(9 * NS) is None


def test_an_image_waits_for_the_pose_of_its_own_time() -> None:
    """The pose before is within the tolerance already, but a better one is on its way."""
    buffer = PoseBuffer(tolerance_ns=NS, wait_s=60.0)
    buffer.add(NS, at(1.0))
    threading.Timer(0.05, lambda: buffer.add(2 * NS, at(2.0))).start()
    start_s = time.monotonic()
    assert buffer.pose_at(2 * NS) == at(2.0)
    assert time.monotonic() - start_s < 50.0, 'waited although the pose was there'


def test_poses_out_of_order_are_sorted_and_a_jump_back_forgets() -> None:
    """Odometry may be late; a looped bag starts again."""
    buffer = PoseBuffer(tolerance_ns=1, wait_s=0.0)
    buffer.add(10 * NS, at(10.0))
    buffer.add(10 * NS - 5, at(9.0))
    assert buffer.pose_at(10 * NS - 5) == at(9.0)
    buffer.add(2 * NS, at(2.0))
    assert buffer.pose_at(10 * NS) is None
    assert buffer.pose_at(2 * NS) == at(2.0)


def matrix(position: Any, turn: Any) -> np.ndarray:
    """Return a transform as a 4x4 matrix, from a position and a unit quaternion (xyzw)."""
    x, y, z, w = turn
    found = np.eye(4)
    found[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]]
    found[:3, 3] = position
    return found


def test_transforms_compose_and_invert() -> None:
    """A quarter turn to the left, then forward, is a step along y; the way back is none."""
    turned = Pose(position_m=(1.0, 2.0, 0.0), orientation_xyzw=(0.0, 0.0, SIN45, SIN45))
    back = Pose(position_m=(-3.0, 0.0, 0.0))
    assert correction(turned, back)[0] == pytest.approx((1.0, 5.0, 0.0))
    position, rotation = correction(turned, turned)
    assert position == pytest.approx((0.0, 0.0, 0.0))
    assert rotation == pytest.approx((0.0, 0.0, 0.0, 1.0))
    tilted = Pose(position_m=(4.0, -1.0, 2.0), orientation_xyzw=(0.1, -0.5, 0.7, 0.5))
    found = matrix(*correction(tilted, turned))
    np.testing.assert_allclose(
        found @ matrix(turned.position_m, turned.orientation_xyzw),
        matrix(tilted.position_m, tilted.orientation_xyzw), atol=1e-9)


def test_tf_without_tf2_ros_is_refused_with_the_remedy(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not on PyPI, so its absence must not stop anybody else."""
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    config = PlaceRecognitionConfig(mode='slam', pose_source='tf')
    with pytest.raises(ConfigError, match=r'tf2_ros.*pose_source: topic_pose'):
        pose_source(SimpleNamespace(), config)
    config = PlaceRecognitionConfig(mode='slam', odometry_source='tf')
    with pytest.raises(ConfigError, match=r'odometry_source: tf needs.*odometry_source: topic'):
        odometry_source(SimpleNamespace(), config)
    config = PlaceRecognitionConfig(mode='slam', publish_map_to_odom_tf=True)
    with pytest.raises(ConfigError, match='publish_map_to_odom_tf'):
        Outputs(SimpleNamespace(), config)


class StandInTf:
    """What the node uses of tf2_ros, with a robot 2 m ahead of odom, turned to the left."""

    class TransformException(Exception):  # noqa: N818  (tf2's name)
        """Base of tf2's errors."""

    sent: list[TransformStamped] = []  # noqa: RUF012

    class Buffer:
        """Knows odom->base_link and map->base_link at 5 s, its newest time."""

        def lookup_transform(
            self, target: str, source: str, when: Any, timeout: Any
        ) -> TransformStamped:
            """Return the transform or raise."""
            if when.nanoseconds not in (0, 5 * NS):
                raise StandInTf.TransformException(f'{target} {source} unknown then')
            found = TransformStamped(header=header_at(5 * NS, target))
            found.transform.translation.x = 2.0
            found.transform.rotation.z = found.transform.rotation.w = SIN45
            return found

    class TransformListener:
        """Listens to nothing."""

        def __init__(self, buffer: Any, node: Any) -> None:
            """Do nothing."""

        def unregister(self) -> None:
            """Do nothing."""

    class TransformBroadcaster:
        """Remembers what was sent."""

        def __init__(self, node: Any) -> None:
            """Do nothing."""

        def sendTransform(self, message: TransformStamped) -> None:  # noqa: N802
            """Remember it."""
            StandInTf.sent.append(message)


def test_tf_gives_the_pose_at_the_stamp_or_none(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for tf2_ros, which cannot be installed from PyPI."""
    monkeypatch.setitem(sys.modules, 'tf2_ros', StandInTf)
    node = Node('tf_user', context=context)
    source = pose_source(node, PlaceRecognitionConfig(mode='slam', pose_source='tf'))()
    found = source.pose_at(5 * NS)
    assert found.position_m == (2.0, 0.0, 0.0)
    assert found.orientation_xyzw == pytest.approx((0.0, 0.0, SIN45, SIN45))
    assert source.pose_at(6 * NS) is None
    source.close()
    node.destroy_node()


def test_the_newest_transform_near_enough_is_odometry_but_no_pose_of_a_keyframe(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odometry of the image's own time is on its way, as a rule, and is not waited for."""
    monkeypatch.setitem(sys.modules, 'tf2_ros', StandInTf)
    node = Node('tf_user', context=context)
    config = PlaceRecognitionConfig(
        mode='slam', odometry_source='tf', pose_source='tf', pose_tolerance_s=0.1)
    robot = RobotPoses(node, config)
    assert robot.needed
    assert robot.in_odometry(5 * NS) is None, 'not open yet'
    robot.open()
    for late_ns, heard in ((0, True), (NS // 11, True), (NS // 9, False)):
        found = robot.in_odometry(5 * NS + late_ns)
        assert (found is not None) == heard
        if found is not None:
            assert (found.position_m, found.frame_id) == ((2.0, 0.0, 0.0), 'odom')
    assert robot.in_map(5 * NS).frame_id == 'map'
    assert robot.in_map(5 * NS + NS // 11) is None
    robot.close()
    robot.close()
    assert robot.in_map(5 * NS) is None
    node.destroy_node()


def test_map_to_odom_puts_the_base_where_it_was_recognised(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """map_T_odom times odom_T_base must be the recognised pose."""
    monkeypatch.setitem(sys.modules, 'tf2_ros', StandInTf)
    node = Node('tf_sender', context=context)
    broadcaster = MapToOdom(StandInTf, node, PlaceRecognitionConfig(mode='slam'))
    pose = Pose(position_m=(10.0, -4.0, 0.0), orientation_xyzw=(0.0, 0.0, 1.0, 0.0))
    broadcaster.publish(pose, 5 * NS)
    sent = StandInTf.sent[-1]
    place, turn = sent.transform.translation, sent.transform.rotation
    result = (matrix((place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w))
              @ matrix((2.0, 0.0, 0.0), (0.0, 0.0, SIN45, SIN45)))
    np.testing.assert_allclose(
        result, matrix((10.0, -4.0, 0.0), (0.0, 0.0, 1.0, 0.0)), atol=1e-9)
    assert (sent.header.frame_id, sent.child_frame_id) == ('map', 'odom')
    assert sent.header.stamp.sec == 5
    node.destroy_node()
