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

from dataclasses import dataclass
from pathlib import Path
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2

from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import SourceError
from vpr_compressed.ros import qos
from vpr_compressed.ros.conversions import bytes_for_message
from vpr_compressed.ros.conversions import compressed_message
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import image_message
from vpr_compressed.ros.conversions import pose_with_covariance
from vpr_compressed.ros.parameters import read_config
from vpr_compressed.ros.player.recording import NodeReport
from vpr_compressed.ros.player.recording import Recording
from vpr_compressed.ros.program import run_node
from vpr_compressed.ros.program import spin_until
from vpr_compressed.ros.program import TOPIC
from vpr_compressed.sources import Frame
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import open_source
from vpr_compressed.sources.answer_log import write_report
from vpr_compressed.system.processes import INTERRUPTED

_PROGRESS_S = 5.0
#: Depth of a queue that loses no answer, however slowly they are read.
_ALL = 1000
_POSE_WAIT_S = 1.0
_SETTLE_S = 0.3
#: The node reports once a second.
_REPORT_WAIT_S = 2.5


@dataclass(frozen=True, kw_only=True)
class PlayerConfig:
    """Parameters of the ``player`` node."""

    source: str = option('', 'image folder or ROS bag to play')
    source_topic: str = option('', 'image topic inside a bag; empty when there is only one')
    source_pose_topic: str = option('', 'pose topic inside a bag; empty: no poses')
    source_rate_hz: float = option(
        2.0, 'images per second of a folder without poses.csv', minimum=0.001, maximum=1000.0)
    image_transport: str = option(
        'raw', 'raw: Image on "image"; compressed: CompressedImage on "image/compressed", the '
        'original bytes where the source has them, else PNG', choices=qos.TRANSPORTS)
    image_qos: str = option('reliable', 'quality of service of the images', choices=qos.IMAGE_QOS)
    frame_id: str = option('camera', 'frame of the images')
    rate: float = option(
        1.0, 'speed relative to the stamps; 0 is as fast as possible', minimum=0.0, maximum=1000.0)
    hz: float = option(
        0.0, 'images per second whatever their stamps say; 0 follows the stamps',
        minimum=0.0, maximum=1000.0)
    publish_poses: bool = option(True, 'publish the poses of the source on "pose"')
    wait_for_subscriber_s: float = option(
        10.0, 'how long to wait for somebody to listen before the first image, in seconds',
        minimum=0.0, maximum=3600.0)
    wait_for_answer: bool = option(
        False, 'publish the next image only after the matches of this one, so none is dropped')
    answer_timeout_s: float = option(
        5.0, 'how long to wait for the matches of an image, in seconds',
        minimum=0.0, maximum=600.0)
    record_path: str = option('', 'file for the answers, one JSON object per image; the counts of '
                              'the node come beside it as .node.json; empty: none')

    def __post_init__(self) -> None:
        """Refuse a start without a source."""
        if not self.source:
            raise ConfigError('parameter source is empty; give an image folder or a ROS bag, '
                              'e.g. --ros-args -p source:=/path/to/bag')


class PlayerNode(Node):
    """Publishes frames and collects what comes back for them."""

    def __init__(self, **options: Any) -> None:
        """
        Read the parameters, open the source and create the topics.

        :param options: arguments of ``rclpy.node.Node``
        :raises VprError: a parameter or the source makes no sense
        """
        super().__init__('player', **options)
        self.config = config = read_config(self, PlayerConfig)
        self.source: ImageSource = open_source(
            Path(config.source).expanduser(), topic=config.source_topic or None,
            pose_topic=config.source_pose_topic or None, rate_hz=config.source_rate_hz)
        self.recording = Recording(
            Path(config.record_path).expanduser() if config.record_path else None)
        self._images = self.create_publisher(
            qos.TRANSPORTS[config.image_transport], qos.image_topic(self, config.image_transport),
            qos.newest_only(config.image_qos))
        self._poses = self.create_publisher(PoseWithCovarianceStamped, 'pose', qos.results(50))
        self.create_subscription(
            PointCloud2, 'place_recognition/matches', self.recording.matches, qos.results(_ALL))
        self.create_subscription(
            PoseWithCovarianceStamped, 'place_recognition/pose', self.recording.pose,
            qos.results(_ALL))
        self._answer_topic = self.resolve_topic_name('place_recognition/matches')
        self._report = NodeReport(self._images.topic_name)
        self.create_subscription(DiagnosticArray, TOPIC, self._report.take, qos.results())

    def run(self) -> int:
        """
        Play, and write down the answers, however it ends.

        :returns: exit code
        :raises VprError: a frame cannot be read, nobody listens, or the answers cannot be written
        """
        try:
            self._play()
        finally:
            self.recording.write()
        return 0

    def _play(self) -> None:
        """Publish every frame of the source, then wait for the last answers."""
        config = self.config
        self.get_logger().info(f'playing {self.source.describe()}')
        self._wait_for_subscribers()
        start_s = next_progress_s = time.monotonic()
        first_ns = None
        for frame in self.source:
            first_ns = frame.stamp_ns if first_ns is None else first_ns
            due_s = start_s + due_after_s(config, frame, first_ns)
            spin_until(self, lambda: False, due_s - time.monotonic())
            self._publish(frame)
            if config.wait_for_answer:
                self._wait_for_answer(frame.stamp_ns)
            if time.monotonic() >= next_progress_s:
                next_progress_s = time.monotonic() + _PROGRESS_S
                self.get_logger().info(f'{frame.index + 1} of {len(self.source)} images')
        if self.count_publishers(self._answer_topic):
            spin_until(self, self.recording.complete, config.answer_timeout_s)
            self._finish_report()
        self.get_logger().info(
            f'played {len(self.source)} images in {time.monotonic() - start_s:.1f} s: '
            f'{self.recording.summary()}')

    def _finish_report(self) -> None:
        """Beside the recording, write what the node says of itself after the last answer."""
        config = self.config
        if config.record_path:
            answered = sum(image.rows is not None for image in self.recording.images)
            self._report.parts = {}
            spin_until(self, lambda: self._report.covers(answered), _REPORT_WAIT_S)
            write_report(
                Path(config.record_path).expanduser(), self._report.parts,
                image_topic=self._images.topic_name, image_transport=config.image_transport,
                unmatched_answers=self.recording.unmatched)

    def _publish(self, frame: Frame) -> None:
        """Publish the pose, then the image."""
        message = frame_message(frame, self.config)
        if frame.pose is not None and self.config.publish_poses:
            self._poses.publish(pose_with_covariance(frame.pose, frame.stamp_ns))
        self.recording.published(frame)
        self._images.publish(message)

    def _wait_for_subscribers(self) -> None:
        """Wait until somebody gets the images, and until the answers can get here."""
        limit_s = self.config.wait_for_subscriber_s
        if limit_s <= 0.0:
            return
        if not spin_until(self, lambda: self._images.get_subscription_count() > 0, limit_s):
            raise SourceError(
                f'nobody subscribed to {self._images.topic_name} within {limit_s:g} s; start '
                'place_recognition first, or check topic name, image_transport and image_qos')
        if self.config.wait_for_answer or self.config.record_path:
            topic = self._answer_topic
            if not spin_until(self, lambda: self.count_publishers(topic) > 0, limit_s):
                raise SourceError(f'nobody publishes {topic}; start place_recognition first, '
                                  'or remap place_recognition/matches')
        # Let both directions of the discovery finish. Only a node that maps wants poses, so
        # one that does not is no reason to wait long.
        spin_until(self, lambda: False, _SETTLE_S)

    def _wait_for_answer(self, stamp_ns: int) -> None:
        """Wait for the matches of one image, and for the pose an accepted row promises."""
        if not spin_until(
                self, lambda: self.recording.answered(stamp_ns), self.config.answer_timeout_s):
            self.get_logger().warning(
                f'no answer to the image at {stamp_ns} ns within '
                f'{self.config.answer_timeout_s:g} s', throttle_duration_sec=5.0)
        spin_until(self, lambda: not self.recording.pose_missing(stamp_ns), _POSE_WAIT_S)


def frame_message(frame: Frame, config: PlayerConfig) -> Image | CompressedImage:
    """
    Return a frame as a message of the transport, with the pixels unchanged.

    A compressed one holds the original bytes of the frame where it has some, else a PNG.
    """
    if config.image_transport == 'raw':
        message = image_message(frame.load())
    elif frame.encoded is not None:
        original = frame.encoded()
        message = CompressedImage(
            format=original.format, data=bytes_for_message(original.data))
    else:
        message = compressed_message(frame.load(), 'png')
    message.header = header_at(frame.stamp_ns, frame.frame_id or config.frame_id)
    return message


def due_after_s(config: PlayerConfig, frame: Frame, first_ns: int) -> float:
    """
    Return when a frame is due, in seconds after the first one.

    :param first_ns: stamp of the first frame in nanoseconds
    """
    if config.hz > 0.0:
        return frame.index / config.hz
    if config.rate > 0.0:
        return (frame.stamp_ns - first_ns) / 1e9 / config.rate
    return 0.0


def main(args: list[str] | None = None) -> int:
    """
    Play one source and exit.

    :param args: command line, as rclpy takes it
    :returns: 0, 1 after an error, 130 when it was told to stop
    """
    return run_node('player', PlayerNode, args, stopped=INTERRUPTED)


if __name__ == '__main__':
    sys.exit(main())
