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

"""Small real bags of every storage, for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from vpr_compressed.records import ImageArray

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
POSES = '/odom'
STORAGES = ('sqlite3', 'mcap', 'ros1')


class BagMaker:
    """Write small real bags: one call per message."""

    def __init__(self, path: Path, storage: str) -> None:
        self.ros1 = storage == 'ros1'
        self.types = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        self.path = path.with_suffix('.bag') if self.ros1 else path
        plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
        self.writer: Any = Writer1(self.path) if self.ros1 else Writer2(
            self.path, version=8, storage_plugin=plugin)
        self.connections: dict[str, Any] = {}

    def make(self, kind: str, **fields: Any) -> Any:
        """Return a message."""
        return self.types.types[kind](**fields)

    def header(self, stamp_ns: int, frame_id: str = 'camera') -> Any:
        """Return a header."""
        stamp = self.make('builtin_interfaces/msg/Time', sec=stamp_ns // SECOND,
                          nanosec=stamp_ns % SECOND)
        extra = {'seq': 0} if self.ros1 else {}
        return self.make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id, **extra)

    def topic(self, topic: str, kind: str) -> Any:
        """Return the connection of a topic."""
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(
                topic, kind, typestore=self.types)
        return self.connections[topic]

    def write(self, topic: str, kind: str, message: Any, recorded_ns: int) -> None:
        """Append one message."""
        serialize = self.types.serialize_ros1 if self.ros1 else self.types.serialize_cdr
        self.writer.write(self.topic(topic, kind), recorded_ns, serialize(message, kind))

    def image(self, topic: str, pixels: ImageArray, stamp_ns: int, recorded_ns: int) -> None:
        """Append a raw rgb8 image."""
        height, width = pixels.shape[:2]
        self.write(topic, 'sensor_msgs/msg/Image', self.make(
            'sensor_msgs/msg/Image', header=self.header(stamp_ns), height=height, width=width,
            encoding='rgb8', is_bigendian=0, step=3 * width, data=pixels.reshape(-1)),
            recorded_ns)

    def jpeg(self, topic: str, data: bytes, stamp_ns: int, recorded_ns: int) -> None:
        """Append a compressed image."""
        self.write(topic, 'sensor_msgs/msg/CompressedImage', self.make(
            'sensor_msgs/msg/CompressedImage', header=self.header(stamp_ns), format='jpeg',
            data=np.frombuffer(data, np.uint8)), recorded_ns)

    def pose(self, kind: str, stamp_ns: int, x: float, variance: float = 0.25) -> None:
        """Append a pose of one of the three kinds to ``/odom``."""
        turn = self.make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=1.0, w=0.0)
        place = self.make('geometry_msgs/msg/Point', x=x, y=2.0, z=0.5)
        pose = self.make('geometry_msgs/msg/Pose', position=place, orientation=turn)
        header = self.header(stamp_ns, 'map')
        fields: dict[str, Any] = {'header': header, 'pose': pose}
        if kind != 'geometry_msgs/msg/PoseStamped':
            covariance = np.diag(np.full(6, variance)).reshape(-1)
            fields['pose'] = self.make(
                'geometry_msgs/msg/PoseWithCovariance', pose=pose, covariance=covariance)
        if kind == 'nav_msgs/msg/Odometry':
            zero = self.make('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
            twist = self.make('geometry_msgs/msg/Twist', linear=zero, angular=zero)
            fields['child_frame_id'] = 'base_link'
            fields['twist'] = self.make(
                'geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=np.zeros(36))
        self.write(POSES, kind, self.make(kind, **fields), stamp_ns)

    def fix(self, topic: str, stamp_ns: int, place: tuple[float, float], *, status: int = 0,
            variance: float = 4.0) -> None:
        """Append a NavSatFix at a latitude and longitude in degrees, 300 m up."""
        kind = 'sensor_msgs/msg/NavSatFix'
        self.write(topic, kind, self.make(
            kind, header=self.header(stamp_ns, 'gps'), latitude=place[0], longitude=place[1],
            altitude=300.0, position_covariance=np.diag([variance, 2 * variance, 99]).reshape(-1),
            position_covariance_type=2,
            status=self.make('sensor_msgs/msg/NavSatStatus', status=status, service=1)), stamp_ns)


@contextmanager
def bag_maker(path: Path, storage: str = 'sqlite3') -> Iterator[BagMaker]:
    """Yield a bag that is being written."""
    maker = BagMaker(path, storage)
    with maker.writer:
        yield maker
