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

"""One need, one pose on initialpose."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import threading
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from vpr_compressed.ros.relocalizer_node import RelocalizePolicy
from vpr_compressed.ros.relocalizer_node import RelocalizerConfig
from vpr_compressed.ros.relocalizer_node import RelocalizerNode


class Clock:
    """Seconds that the test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_each_request_is_answered_once() -> None:
    """At start, and again when somebody asks; other poses are not passed on."""
    policy = RelocalizePolicy(RelocalizerConfig(min_interval_s=0.0))
    assert [policy.take(1) for _ in range(3)] == ['start', '', '']
    policy.request('request')
    assert [policy.take(1) for _ in range(2)] == ['request', '']


def test_a_pose_is_not_spent_while_nobody_listens() -> None:
    """AMCL may come up later than the camera."""
    policy = RelocalizePolicy(RelocalizerConfig())
    assert policy.take(0) == ''
    assert policy.take(1) == 'start'


def test_requests_are_limited_in_rate() -> None:
    """A request in between waits, it is not lost."""
    clock = Clock()
    policy = RelocalizePolicy(RelocalizerConfig(min_interval_s=10.0), clock)
    assert policy.take(1) == 'start'
    policy.request('request')
    clock.now_s = 9.0
    assert policy.take(1) == ''
    assert policy.waiting_s() == pytest.approx(1.0)
    clock.now_s = 10.0
    assert policy.take(1) == 'request'


@pytest.mark.parametrize(('limit_m', 'variance', 'wanted'), [
    (0.0, 99.0, False), (1.0, 0.9, False), (1.0, 1.1, True)])
def test_an_uncertain_amcl_makes_a_request(
    limit_m: float, variance: float, wanted: bool
) -> None:
    """Once: the particles need time to gather after a pose."""
    clock = Clock()
    config = RelocalizerConfig(at_start=False, max_position_std_m=limit_m, min_interval_s=5.0)
    policy = RelocalizePolicy(config, clock)
    assert policy.uncertain(0.01, variance) is wanted
    assert policy.uncertain(0.01, variance) is False, 'asked twice'
    assert bool(policy.take(1)) is wanted
    clock.now_s = 4.0
    assert policy.uncertain(0.01, variance) is False, 'asked within the rate limit'


class CountingRelocalizer(RelocalizerNode):
    """Tells how many poses it has looked at."""

    seen = 0

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        super()._on_pose(message)
        self.seen += 1


@pytest.fixture
def relocalizer(context: Context) -> Iterator[Callable[..., RelocalizerNode]]:
    """Yield a maker of running nodes."""
    made: list[tuple[RelocalizerNode, SingleThreadedExecutor, threading.Thread]] = []

    def make(**parameters: object) -> RelocalizerNode:
        node = CountingRelocalizer(context=context, parameter_overrides=[
            Parameter(name, value=value) for name, value in parameters.items()])
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        made.append((node, executor, thread))
        return node

    yield make
    for node, executor, thread in made:
        executor.shutdown()
        thread.join(5.0)
        node.destroy_node()


def test_of_many_poses_exactly_one_reaches_initialpose_per_request(
    relocalizer: Any, peer: Any
) -> None:
    """And AMCL's doubt asks place recognition to look."""
    node = relocalizer(min_interval_s=0.0, max_position_std_m=1.0)
    heard: list[PoseWithCovarianceStamped] = []
    asked: list[PoseWithCovarianceStamped] = []
    kind = PoseWithCovarianceStamped
    peer.create_subscription(kind, '/initialpose', heard.append, 10)
    peer.create_subscription(kind, '/place_recognition/trigger_localization', asked.append, 10)
    poses = peer.create_publisher(kind, '/place_recognition/pose', 10)
    # transient local, as nav2_amcl publishes it
    amcl = peer.create_publisher(kind, '/amcl_pose', QoSProfile(
        depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert peer.until(lambda: poses.get_subscription_count() > 1)
    assert peer.until(lambda: all(
        publisher.get_subscription_count() for publisher in node.publishers
        if publisher.topic_name in {'/initialpose', '/place_recognition/trigger_localization'}))
    assert peer.until(lambda: all(
        subscription.get_publisher_count() for subscription in node.subscriptions
        if subscription.topic_name in {'/amcl_pose', '/place_recognition/pose'}))

    def send(x_m: float) -> None:
        message = PoseWithCovarianceStamped()
        message.header.frame_id = 'map'
        message.pose.pose.position.x = x_m
        seen = node.seen
        poses.publish(message)
        assert peer.until(lambda: node.seen > seen)

    for x_m in (1.0, 2.0, 3.0):
        send(x_m)
    assert peer.until(lambda: heard)
    doubt = PoseWithCovarianceStamped()
    doubt.pose.covariance[0] = 4.0
    amcl.publish(doubt)
    assert peer.until(lambda: asked)
    for x_m in (4.0, 5.0):
        send(x_m)
    assert peer.until(lambda: len(heard) == 2)
    answer = peer.request(Trigger, '/relocalizer/relocalize', Trigger.Request())
    assert answer.success
    for x_m in (6.0, 7.0):
        send(x_m)
    assert peer.until(lambda: len(heard) == 3)
    node._output.publish(PoseWithCovarianceStamped())  # what was published before is heard before
    assert peer.until(lambda: len(heard) > 3)
    assert [message.pose.pose.position.x for message in heard] == [1.0, 4.0, 6.0, 0.0]
