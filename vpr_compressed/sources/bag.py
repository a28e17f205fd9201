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
ROS bags: ROS 1 and 2, sqlite3 and mcap, raw and compressed image topics; no ROS needed.

A frame is stamped with its message's header, as in the live system; a header without a time
falls back to the time of recording. This is the only module that imports rosbags.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import TopicInfo
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from vpr_compressed.errors import SourceError
from vpr_compressed.images.pixels import rgb_from_message
from vpr_compressed.records import Pose
from vpr_compressed.sources.frames import EncodedImage
from vpr_compressed.sources.frames import Frame
from vpr_compressed.sources.frames import stamp_to_ns
from vpr_compressed.sources.image_files import bag_files
from vpr_compressed.sources.poses import decode_poses
from vpr_compressed.sources.poses import nearest_pose
from vpr_compressed.sources.satellite import decode_fixes
from vpr_compressed.sources.satellite import fix_at
from vpr_compressed.sources.satellite import FIX_TYPE
from vpr_compressed.sources.satellite import parse_zone

COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = ('sensor_msgs/msg/Image', COMPRESSED_TYPE)
POSE_TYPES = (
    'nav_msgs/msg/Odometry', 'geometry_msgs/msg/PoseStamped',
    'geometry_msgs/msg/PoseWithCovarianceStamped', FIX_TYPE)


class BagSource:
    """The images of one topic of a bag, in the order they were recorded."""

    kind = 'bag'

    def __init__(
        self, path: Path, *, topic: str | None = None, pose_topic: str | None = None,
        utm_zone: str | None = None
    ) -> None:
        """
        Read the list of topics, choose the image topic, and read the poses.

        :param path: bag folder, or one ``.db3``, ``.mcap`` or ``.bag`` file
        :param topic: image topic; may be left out when the bag has only one
        :param pose_topic: topic of Odometry, PoseStamped, PoseWithCovarianceStamped or
            NavSatFix messages; fixes become metres on the UTM grid
        :param utm_zone: zone of that grid, such as ``32N``; None for that of the first fix
        :raises SourceError: damaged bag, no or several image topics, or a wrong topic name
        """
        self.path = path
        self._files = bag_files(path)
        with self._open() as reader:
            topics = reader.topics
            self.topic = _choose_topic(path, topics, topic)
            self._length = topics[self.topic].msgcount
            #: Zone that the poses are given in, None unless they come from NavSatFix messages.
            self.utm_zone: str | None = None
            self._pose_at: Callable[[int], Pose | None] = lambda _: None
            if pose_topic is not None:
                _check_pose_topic(path, topics, pose_topic)
                messages = (message for message, _ in _messages(reader, pose_topic))
                if topics[pose_topic].msgtype == FIX_TYPE:
                    fixes, zone = decode_fixes(
                        messages, None if utm_zone is None else parse_zone(utm_zone))
                    self.utm_zone = None if zone is None else zone.name
                    self._pose_at = partial(fix_at, fixes)
                else:
                    self._pose_at = partial(nearest_pose, decode_poses(messages))
        self.pose_topic = pose_topic

    def __len__(self) -> int:
        """Return the number of messages on the image topic."""
        return self._length

    def __iter__(self) -> Iterator[Frame]:
        """Yield the images in the order they were recorded."""
        with self._open() as reader:
            for index, (message, recorded_ns) in enumerate(_messages(reader, self.topic)):
                header = message.header
                stamp_ns = stamp_to_ns(header.stamp) or recorded_ns
                compressed = hasattr(message, 'format')
                yield Frame(
                    index=index, name=f'{self.topic}[{index}]', stamp_ns=stamp_ns,
                    pose=self._pose_at(stamp_ns),
                    load=partial(rgb_from_message, message), frame_id=header.frame_id,
                    encoded=partial(_encoded, message) if compressed else None)

    def describe(self) -> str:
        """Return one line for people."""
        poses = f', poses from {self.pose_topic}' if self.pose_topic else ''
        poses += f' on UTM zone {self.utm_zone}' if self.utm_zone else ''
        return f'bag {self.path} ({len(self)} images on {self.topic}{poses})'

    @contextmanager
    def _open(self) -> Iterator[AnyReader]:
        """Open the bag; whatever goes wrong while reading it becomes a SourceError."""
        try:
            # Only bags of Humble and before carry no definitions of their own.
            reader = AnyReader(self._files, default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            with reader:
                yield reader
        except SourceError:
            raise
        except Exception as error:
            # rosbags lets the errors of SQLite, YAML, struct, zstd, lz4 and its own assertions
            # through; on a damaged file any of them may come.
            raise SourceError(
                f'cannot read bag {self.path}: {str(error) or type(error).__name__}. The file is '
                'damaged, still being written, or no bag; try "ros2 bag info" and "ros2 bag '
                'reindex" on it, or record it again') from error


def _choose_topic(path: Path, topics: Mapping[str, TopicInfo], wanted: str | None) -> str:
    """Return the image topic to read or say which ones there are."""
    images = {name: topics[name] for name in sorted(topics) if topics[name].msgtype in IMAGE_TYPES}
    if not images:
        raise SourceError(
            f'bag {path} has no image topic (sensor_msgs Image or CompressedImage), it has: '
            f'{_listing(topics)}; record the camera topic too')
    if wanted is None and len(images) > 1:
        raise SourceError(
            f'bag {path} has {len(images)} image topics: {_listing(images)}; name one of them')
    topic = next(iter(images)) if wanted is None else wanted
    if topic not in images:
        raise SourceError(
            f'topic {topic} of bag {path} is {_found(topics, topic)}; its image topics are: '
            f'{_listing(images)}')
    if images[topic].msgcount == 0:
        raise SourceError(f'topic {topic} of bag {path} holds no message; choose another bag')
    return topic


def _check_pose_topic(path: Path, topics: Mapping[str, TopicInfo], wanted: str) -> None:
    """Refuse a pose topic that is absent or of a wrong type, naming the right ones."""
    known = {name: entry for name, entry in topics.items() if entry.msgtype in POSE_TYPES}
    if wanted not in known:
        raise SourceError(
            f'pose topic {wanted} of bag {path} is {_found(topics, wanted)}; its topics with '
            f'poses ({", ".join(kind.rsplit("/", 1)[1] for kind in POSE_TYPES)}) are: '
            f'{_listing(known)}')


def _found(topics: Mapping[str, TopicInfo], wanted: str) -> str:
    """Return what a name stands for in a bag."""
    return topics[wanted].msgtype or 'of several types' if wanted in topics else 'not in the bag'


def _listing(topics: Mapping[str, TopicInfo]) -> str:
    """Return topics as text."""
    return ', '.join(f'{name} ({entry.msgtype}, {entry.msgcount} messages)'
                     for name, entry in topics.items()) or 'none'


def _messages(reader: AnyReader, topic: str) -> Iterator[tuple[Any, int]]:
    """Yield the messages of one topic with the time they were recorded, in nanoseconds."""
    for connection, recorded_ns, raw in reader.messages(reader.topics[topic].connections):
        yield reader.deserialize(raw, connection.msgtype), recorded_ns


def _encoded(message: Any) -> EncodedImage:
    """Return a compressed message's image as it is."""
    return EncodedImage(bytes(message.data), message.format)
