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
The node ``player``: publish a folder or bag as a camera would, and write down the answers.

Images keep their original stamps. In lock-step (``wait_for_answer``) the next image is published
after the matches of the last one arrived, so that none is dropped and two runs are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2

from vpr_compressed.errors import SourceError
from vpr_compressed.errors import VprError
from vpr_compressed.ros import qos
from vpr_compressed.ros.conversions import pose_with_covariance
from vpr_compressed.ros.conversions import stamp_to_ns
from vpr_compressed.ros.parameters import ParameterGroup
from vpr_compressed.ros.parameters import ParameterSet
from vpr_compressed.ros.player.config import PlayerConfig
from vpr_compressed.ros.player.messages import frame_message
from vpr_compressed.ros.player.node_report import NodeReport
from vpr_compressed.ros.player.recording import Recording
from vpr_compressed.sources import Frame
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import open_source

_PROGRESS_S = 5.0
_POSE_WAIT_S = 1.0
_SETTLE_S = 0.3
#: The node reports once a second.
_REPORT_WAIT_S = 2.5


class PlayerNode(Node):
    """Publishes frames and collects what comes back for them."""

    def __init__(self, **options: Any) -> None:
        """
        Read the parameters, open the source and create the topics.

        :param options: arguments of ``rclpy.node.Node``
        :raises VprError: a parameter or the source makes no sense
        """
        super().__init__('player', **options)
        parameters = ParameterSet(self, [ParameterGroup(PlayerConfig)])
        self.config: PlayerConfig = parameters.configs()[0]
        config = self.config
        self.source: ImageSource = open_source(
            Path(config.source).expanduser(), topic=config.source_topic or None,
            pose_topic=config.source_pose_topic or None, rate_hz=config.source_rate_hz)
        self.recording = Recording(Path(config.record_path) if config.record_path else None)
        kind = Image if config.image_transport == 'raw' else CompressedImage
        self._images = self.create_publisher(
            kind, qos.image_topic(self, config.image_transport),
            qos.newest_only(config.image_qos))
        self._poses = self.create_publisher(
            PoseWithCovarianceStamped, 'pose', qos.results(50))
        self.create_subscription(
            PointCloud2, 'place_recognition/matches', self._on_matches, _all_results())
        self.create_subscription(
            PoseWithCovarianceStamped, 'place_recognition/pose', self._on_pose, _all_results())

        self._answer_topic = self.resolve_topic_name('place_recognition/matches')
        self.report = NodeReport(self._images.topic_name)
        self.create_subscription(DiagnosticArray, '/diagnostics', self.report.take, 10)

    def play(self) -> None:
        """
        Publish every frame of the source, then wait for the last answers.

        :raises VprError: a frame cannot be read, or nobody listens
        """
        config = self.config
        self.get_logger().info(f'playing {self.source.describe()}')
        self._wait_for_subscribers()
        start_s = next_progress_s = time.monotonic()
        first_ns = None
        for frame in self.source:
            first_ns = frame.stamp_ns if first_ns is None else first_ns
            self._spin_until(
                lambda: False, start_s + self._due_s(frame, first_ns) - time.monotonic())
            self._publish(frame)
            if config.wait_for_answer:
                self._wait_for_answer(frame.stamp_ns)
            if time.monotonic() >= next_progress_s:
                next_progress_s = time.monotonic() + _PROGRESS_S
                self.get_logger().info(f'{frame.index + 1} of {len(self.source)} images')
        if self.count_publishers(self._answer_topic):
            self._spin_until(self.recording.complete, config.answer_timeout_s)
            self._finish_report()
        self.get_logger().info(
            f'played {len(self.source)} images in {time.monotonic() - start_s:.1f} s: '
            f'{self.recording.summary()}')

    def _finish_report(self) -> None:
        """Beside the recording, write what the node says of itself after the last answer."""
        path = self.config.record_path
        if path:
            answered = sum(a.rows is not None for a in self.recording.answers())
            self.report.forget()
            self._spin_until(lambda: self.report.covers(answered), _REPORT_WAIT_S)
            self.report.write(Path(path).expanduser(), transport=self.config.image_transport,
                              unmatched=self.recording.unmatched)

    def _due_s(self, frame: Frame, first_ns: int) -> float:
        """Return when a frame is due, in seconds after the first one."""
        config = self.config
        if config.hz > 0.0:
            return frame.index / config.hz
        if config.rate > 0.0:
            return (frame.stamp_ns - first_ns) / 1e9 / config.rate
        return 0.0

    def _publish(self, frame: Frame) -> None:
        """Publish the pose, then the image."""
        message = frame_message(frame, self.config.image_transport, self.config.frame_id)
        if frame.pose is not None and self.config.publish_poses:
            self._poses.publish(pose_with_covariance(frame.pose, frame.stamp_ns))
        self.recording.published(frame)
        self._images.publish(message)

    def _wait_for_subscribers(self) -> None:
        """Wait until somebody gets the images, and until the answers can get here."""
        limit_s = self.config.wait_for_subscriber_s
        if limit_s <= 0.0:
            return
        if not self._spin_until(lambda: self._images.get_subscription_count() > 0, limit_s):
            raise SourceError(
                f'nobody subscribed to {self._images.topic_name} within {limit_s:g} s; start '
                'place_recognition first, or check topic name, image_transport and image_qos')
        if self.config.wait_for_answer or self.config.record_path:
            topic = self._answer_topic
            if not self._spin_until(lambda: self.count_publishers(topic) > 0, limit_s):
                raise SourceError(f'nobody publishes {topic}; start place_recognition first, '
                                  'or remap place_recognition/matches')
        # Let both directions of the discovery finish. Only a node that maps wants poses, so
        # one that does not is no reason to wait long.
        self._spin_until(lambda: False, _SETTLE_S)

    def _wait_for_answer(self, stamp_ns: int) -> None:
        """Wait for the matches of one image, and for the pose an accepted row promises."""
        if not self._spin_until(
                lambda: self.recording.answered(stamp_ns), self.config.answer_timeout_s):
            self.get_logger().warning(
                f'no answer to the image at {stamp_ns} ns within '
                f'{self.config.answer_timeout_s:g} s', throttle_duration_sec=5.0)
        self._spin_until(lambda: not self.recording.pose_missing(stamp_ns), _POSE_WAIT_S)

    def _spin_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Handle messages until something is true or time is up; return whether it is true."""
        end_s = time.monotonic() + limit_s
        while not done():
            left_s = end_s - time.monotonic()
            if left_s <= 0.0:
                return False
            if not self.context.ok():
                raise ExternalShutdownException
            rclpy.spin_once(self, timeout_sec=min(left_s, 0.1))
        return True

    def _on_matches(self, message: PointCloud2) -> None:
        self.recording.matches(message)

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        self.recording.pose(stamp_to_ns(message.header.stamp), message)


def _all_results() -> QoSProfile:
    """Return a profile that loses no answer however slowly they are read."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1000,
                      reliability=ReliabilityPolicy.RELIABLE)


def main(args: list[str] | None = None) -> int:
    """
    Play one source and exit.

    :param args: command line, as rclpy takes it
    :returns: 0, or 1 after an error
    """
    rclpy.init(args=args)
    node = None
    try:
        node = PlayerNode()
        node.play()
    except VprError as error:
        rclpy.logging.get_logger('player').error(str(error))
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        if node is not None:
            node.recording.close()
            node.destroy_node()
        try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
