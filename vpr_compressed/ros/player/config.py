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


"""Parameters of the ``player`` node."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError
from vpr_compressed.ros.place_recognition.config import IMAGE_QOS
from vpr_compressed.ros.place_recognition.config import TRANSPORTS


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
        'original bytes where the source has them, else PNG', choices=TRANSPORTS)
    image_qos: str = option('reliable', 'quality of service of the images', choices=IMAGE_QOS)
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
