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
The node ``relocalizer``: hand a recognised place to AMCL or slam_toolbox, once per need.

``initialpose`` makes AMCL throw its particles away, so accepted poses must never be streamed
there. One is passed on when somebody asks, at start, or when AMCL has become uncertain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
import sys
import time
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
import rclpy
from rclpy.node import Node
from std_srvs.srv import Trigger

from vpr_compressed.config import option
from vpr_compressed.ros import qos
from vpr_compressed.ros.parameters import read_config
from vpr_compressed.ros.program import run_node
from vpr_compressed.ros.program import serve


@dataclass(frozen=True, kw_only=True)
class RelocalizerConfig:
    """Parameters of the ``relocalizer`` node."""

    at_start: bool = option(True, 'localise once when the node starts')
    max_position_std_m: float = option(
        0.0, 'localise when amcl_pose gets less certain than this standard deviation of x or y, '
        'in metres; 0 does not watch it', minimum=0.0, maximum=1000.0)
    min_interval_s: float = option(
        10.0, 'shortest time between two poses on initialpose, in seconds of wall time: each '
        'one makes AMCL start again', minimum=0.0, maximum=3600.0)


class RelocalizePolicy:
    """Decides which of many recognised poses is passed on; knows no ROS."""

    def __init__(
        self, config: RelocalizerConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Start, wanting a pose if the configuration says so.

        :param clock: seconds that never go back
        """
        self._config = config
        self._clock = clock
        self._sent_s = -math.inf
        self.reason = 'start' if config.at_start else ''

    def request(self, reason: str) -> None:
        """Want one pose from now on."""
        self.reason = reason

    def uncertain(self, variance_x: float, variance_y: float) -> bool:
        """
        Look at the variances of AMCL's pose in square metres.

        :returns: True when they made a new request
        """
        limit_m = self._config.max_position_std_m
        if limit_m <= 0.0 or self.reason or self.waiting_s() > 0.0:
            return False
        if max(variance_x, variance_y) <= limit_m ** 2:
            return False
        self.request('amcl_pose is uncertain')
        return True

    def waiting_s(self) -> float:
        """Return how long the rate limit still holds, in seconds."""
        return max(0.0, self._sent_s + self._config.min_interval_s - self._clock())

    def take(self, listeners: int) -> str:
        """
        Return why a pose that just came is to be passed on, or '' when it is not.

        :param listeners: subscribers of ``initialpose``; a pose nobody hears is not spent
        """
        if not self.reason or not listeners or self.waiting_s() > 0.0:
            return ''
        reason, self.reason = self.reason, ''
        self._sent_s = self._clock()
        return reason


class RelocalizerNode(Node):
    """Passes poses of ``place_recognition/pose`` on to ``initialpose``."""

    def __init__(self, **options: Any) -> None:
        """
        Read the parameters and create the topics.

        :param options: arguments of ``rclpy.node.Node``
        :raises ConfigError: a parameter makes no sense
        """
        super().__init__('relocalizer', **options)
        self.policy = RelocalizePolicy(read_config(self, RelocalizerConfig))
        kind = PoseWithCovarianceStamped
        self._output = self.create_publisher(kind, 'initialpose', qos.results(1))
        self._trigger = self.create_publisher(
            kind, 'place_recognition/trigger_localization', qos.results())
        self.create_subscription(
            kind, 'place_recognition/pose', self._on_pose, qos.results())
        self.create_subscription(kind, 'amcl_pose', self._on_amcl, qos.latched())
        serve(self, Trigger, '~/relocalize', self._on_request)

    def run(self) -> int:
        """Handle messages until told to stop."""
        rclpy.spin(self)
        return 0

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        reason = self.policy.take(self._output.get_subscription_count())
        if reason:
            self._output.publish(message)
            place = message.pose.pose.position
            self.get_logger().info(
                f'initialpose at x {place.x:.2f}, y {place.y:.2f} ({reason})')

    def _on_amcl(self, message: PoseWithCovarianceStamped) -> None:
        covariance = message.pose.covariance
        if self.policy.uncertain(covariance[0], covariance[7]):
            self.get_logger().warning('amcl_pose is uncertain, looking for the place')
            self._trigger.publish(PoseWithCovarianceStamped())

    def _on_request(self, _request: Any) -> str:
        self.policy.request('request')
        self._trigger.publish(PoseWithCovarianceStamped())
        wait_s = self.policy.waiting_s()
        limit = f', not before {wait_s:.1f} s are over (min_interval_s)' if wait_s > 0.0 else ''
        return f'the next recognised pose goes to initialpose{limit}'


def main(args: list[str] | None = None) -> int:
    """
    Run the node until it is told to stop.

    :param args: command line, as rclpy takes it
    :returns: 0, or 1 after an error
    """
    return run_node('relocalizer', RelocalizerNode, args)


if __name__ == '__main__':
    sys.exit(main())
