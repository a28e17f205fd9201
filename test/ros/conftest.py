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
Fixtures of the tests that need rclpy.

The parts that import it are in ``ros_harness``, so that this file loads without ROS 2 too.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from importlib.metadata import version
import os
from pathlib import Path
import sys
from typing import ClassVar
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from patient_decider import PatientDecider
    from rclpy.context import Context
    from ros_harness import LocalNode
    from ros_harness import NodeProcess
    from ros_harness import Peer

    from vpr_compressed.decision.config import DecisionConfig
    from vpr_compressed.records import ImageArray
    from vpr_compressed.records import Pose

# Before any message class is imported: wrong field types must fail, as they do on Humble.
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
# Above 101 the ports of DDS lie among those Linux hands out to anybody: answers get lost.
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
sys.path.insert(0, str(Path(__file__).parent))

NS = 1_000_000_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ros)


@pytest.fixture(autouse=True)
def large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Fast DDS the profile this package ships; the variable was renamed after Jazzy."""
    old = int(version('rclpy').split('.')[0]) < 8
    variable = 'FASTRTPS_DEFAULT_PROFILES_FILE' if old else 'FASTDDS_DEFAULT_PROFILES_FILE'
    profile = Path(__file__).parents[2] / 'config' / 'fastdds_large_images.xml'
    monkeypatch.setenv(variable, str(profile))


@pytest.fixture
def context() -> Iterator[Context]:
    """Yield an rclpy context of this test alone."""
    import rclpy
    from rclpy.context import Context

    made = Context()
    rclpy.init(context=made, args=[])
    yield made
    rclpy.shutdown(context=made)


@pytest.fixture
def peer(context: Context) -> Iterator[Peer]:
    """Yield the rest of the robot."""
    from ros_harness import Peer

    made = Peer(context)
    yield made
    made.close()


@pytest.fixture
def local_node(context: Context) -> Iterator[Callable[..., LocalNode]]:
    """Yield a maker of nodes in this process."""
    from ros_harness import LocalNode
    from ros_harness import PixelExtractor

    made: list[LocalNode] = []

    def make(extractor: object = None, **parameters: object) -> LocalNode:
        made.append(LocalNode(context, extractor or PixelExtractor(), **parameters))
        return made[-1]

    yield make
    for node in made:
        node.close()


@pytest.fixture
def decider(monkeypatch: pytest.MonkeyPatch) -> type[PatientDecider]:
    """Let nodes in this process decide by a stand-in, and return it, to be told how."""
    from patient_decider import PatientDecider

    from vpr_compressed import recognizer

    class Told(PatientDecider):
        configs: ClassVar[list[DecisionConfig | None]] = []
        odometry: ClassVar[list[Pose | None]] = []

    monkeypatch.setattr(recognizer, 'PlaceDecider', Told)
    return Told


@pytest.fixture
def node_process(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Yield a starter of nodes in their own processes."""
    from ros_harness import NodeProcess

    made: list[NodeProcess] = []

    def make(
        module: str = 'place_recognition.node', *, hears_sigint: bool = True, **parameters: object
    ) -> NodeProcess:
        named = {name.replace('__', '.'): value for name, value in parameters.items()}
        made.append(NodeProcess(
            module, tmp_path / f'node{len(made)}.log', named, hears_sigint=hears_sigint))
        return made[-1]

    yield make
    for node in made:
        node.close()


@pytest.fixture
def places() -> list[ImageArray]:
    """Return images of twelve places, uint8 RGB (96, 128, 3), each with a texture of its own."""
    made = []
    for place in range(12):
        blocks = np.random.default_rng(place).integers(0, 256, (6, 8, 3), np.uint8)
        made.append(cv2.resize(blocks, (128, 96), interpolation=cv2.INTER_CUBIC))
    return made


@pytest.fixture
def again(places: list[ImageArray]) -> list[ImageArray]:
    """Return the same places later: darker and noisier."""
    noise = np.random.default_rng(99)
    return [np.clip(0.8 * image + noise.normal(0.0, 6.0, image.shape), 0, 255).astype(np.uint8)
            for image in places]


@pytest.fixture
def walk_map(tmp_path: Path, places: list[ImageArray]) -> Path:
    """Return a map of the twelve places, made with ``PixelExtractor``, without poses."""
    from ros_harness import PixelExtractor

    from vpr_compressed.place_map.place_map import PlaceMap

    path = tmp_path / 'walk.map'
    extractor = PixelExtractor()
    with PlaceMap.create(
            path, descriptor_id=extractor.descriptor_id, dimension=extractor.dimension) as made:
        for number, image in enumerate(places):
            made.add(extractor.describe(image), stamp_ns=number)
    return path


@pytest.fixture
def stamp() -> Callable[[int], int]:
    """Return the stamp in nanoseconds of the n-th image of a walk at 2 Hz."""
    return lambda number: 1_000 * NS + number * NS // 2
