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

"""Two walks of one route as folders and bags, small enough for the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

PLACES = 12
KIND = 'sensor_msgs/msg/CompressedImage'


def view(place: int, noise: int) -> NDArray[np.uint8]:
    """Return what a camera sees at a place: coarse colour blocks, with sensor noise."""
    blocks = np.random.default_rng(place).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    image = cv2.resize(blocks, (64, 48), interpolation=cv2.INTER_NEAREST).astype(np.int64)
    grain = np.random.default_rng(1000 * noise + place).integers(-8, 9, image.shape)
    return np.clip(image + noise * grain, 0, 255).astype(np.uint8)


def write_walk(path: Path, noise: int) -> Path:
    """Write one walk as PNG files."""
    path.mkdir()
    for place in range(PLACES):
        cv2.imwrite(str(path / f'{place}.png'), view(place, noise)[..., ::-1])
    return path


def write_bag(path: Path, images: Path, topics: tuple[str, ...], storage: StoragePlugin) -> Path:
    """Write the files of a walk as they are into a bag, on each topic."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    made: dict[str, Any] = types.types
    with Writer(path, version=8, storage_plugin=storage) as writer:
        for topic in topics:
            connection = writer.add_connection(topic, KIND, typestore=types)
            for place in range(PLACES):
                stamp = made['builtin_interfaces/msg/Time'](sec=place // 2, nanosec=place % 2 * 5)
                message = made[KIND](
                    header=made['std_msgs/msg/Header'](stamp=stamp, frame_id='camera'),
                    format='png',
                    data=np.frombuffer((images / f'{place}.png').read_bytes(), np.uint8))
                writer.write(connection, place * 500_000_000, types.serialize_cdr(message, KIND))
    return path


@pytest.fixture(scope='session')
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with day/ and night/, their bags, and a bag with two cameras."""
    path = tmp_path_factory.mktemp('walks')
    write_walk(path / 'day', 0)
    write_walk(path / 'night', 2)
    camera = ('/camera/image_raw/compressed',)
    write_bag(path / 'day_bag', path / 'day', camera, StoragePlugin.SQLITE3)
    write_bag(path / 'night_bag', path / 'night', camera, StoragePlugin.MCAP)
    write_bag(path / 'stereo_bag', path / 'day', ('/left', '/right'), StoragePlugin.SQLITE3)
    return path


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, so that default output names cannot touch the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
