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

"""Odometry reaches the decision over real DDS, and no image waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from ros_harness import PixelExtractor

from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.place_recognition import operation

Stamp = Callable[[int], int]
NS = 1_000_000_000


def _heard(node: Any, stamp_ns: int) -> bool:
    """Return whether the node has odometry of exactly this time."""
    found = node.node.pipeline._poses.in_odometry(stamp_ns)
    return found is not None and found.position_m[0] == stamp_ns / NS


def drive(
    node: Any, peer: Any, stamps_ns: list[int], topic: str = '/odom',
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE
) -> None:
    """Publish odometry, x in seconds of the stamp, and wait until the node has heard it."""
    publisher = peer.publisher(Odometry, topic, QoSProfile(depth=50, reliability=reliability))
    for stamp_ns in stamps_ns:
        message = Odometry(header=header_at(stamp_ns, 'odom'))
        message.pose.pose.position.x = stamp_ns / NS
        message.pose.pose.orientation.w = 1.0
        for _ in range(60):  # best effort may lose one
            publisher.publish(message)
            if peer.until(lambda stamp_ns=stamp_ns: _heard(node, stamp_ns), 1.0):
                break
        assert _heard(node, stamp_ns)


@pytest.mark.parametrize('mode', ['localization', 'slam'])
@pytest.mark.parametrize('reliability', [
    ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_odometry_is_taken_by_itself_once_somebody_publishes_it(
    *, mode: str, reliability: ReliabilityPolicy, local_node: Any, peer: Any, walk_map: Path,
    places: list[ImageArray], stamp: Stamp, decider: Any
) -> None:
    """The nearest in time, whichever reliability a driver has; none where none is near."""
    given = {'map_path': str(walk_map)} if mode == 'localization' else {}
    node = local_node(mode=mode, **given).start()
    peer.ask(places[0], stamp(0))
    drive(node, peer, [stamp(1), stamp(1) + NS // 20, stamp(2)], reliability=reliability)
    peer.ask(places[1], stamp(1) + NS // 25)
    peer.ask(places[2], stamp(2) + NS // 11)
    peer.ask(places[3], stamp(3))
    assert [pose and pose.position_m[0] for pose in decider.odometry] == [
        None, (stamp(1) + NS // 20) / NS, stamp(2) / NS, None]
    assert decider.odometry[1].frame_id == 'odom'
    assert node.node.pipeline.statistics.matching()['with_odometry'] == 2


def test_the_node_decides_as_the_library_does_with_the_same_odometry(
    local_node: Any, peer: Any, tmp_path: Path, places: list[ImageArray],
    again: list[ImageArray], stamp: Stamp
) -> None:
    """Frame by frame; without odometry it is not as sure, or surer."""
    extractor, path, found = PixelExtractor(), tmp_path / 'posed.map', []
    with PlaceMap.create(path, descriptor_id=extractor.descriptor_id,
                         dimension=extractor.dimension) as made:
        for number, image in enumerate(places):  # half as far apart as the robot will go
            made.add(extractor.describe(image), stamp_ns=number,
                     pose=Pose(position_m=(0.25 * number, 0.0, 0.0)))
    node = local_node(mode='localization', map_path=str(path)).start()
    for number, image in enumerate(again):
        drive(node, peer, [stamp(number)])
        row = peer.ask(image, stamp(number))[0]
        found.append((int(row['keyframe_id']), int(row['status']), float(row['confidence'])))

    def expected(*, moving: bool) -> list[tuple[int, int, float]]:
        with PlaceMap.open(path) as place_map:
            recognizer = Recognizer(extractor, place_map)
            decisions = [recognizer.process(image, stamp_ns=stamp(number), odometry=Pose(
                position_m=(stamp(number) / NS, 0.0, 0.0), frame_id='odom') if moving else None
            ).decision for number, image in enumerate(again)]
        return [(d.keyframe.keyframe_id, int(d.status), float(np.float32(d.confidence)))
                for d in decisions]

    assert found == expected(moving=True)
    assert found != expected(moving=False)


def test_no_image_waits_for_odometry(
    local_node: Any, peer: Any, walk_map: Path, places: list[ImageArray], stamp: Stamp,
    decider: Any
) -> None:
    """Not even where keyframes wait for their poses for long: an answer counts now."""
    node = local_node(mode='localization', map_path=str(walk_map), odometry_source='topic',
                      pose_tolerance_s=5.0, pose_wait_s=10.0).start()
    drive(node, peer, [stamp(0)])
    peer.ask(places[0], stamp(0))
    begin_s = time.monotonic()
    for number in range(1, 5):
        peer.ask(places[number], stamp(number))
    assert time.monotonic() - begin_s < 4 * 10.0
    assert {pose.position_m[0] for pose in decider.odometry} == {stamp(0) / NS}


@pytest.mark.parametrize('parameters', [
    {'mode': 'localization', 'odometry_source': 'none'}, {'mode': 'mapping'}])
def test_odometry_is_not_heard_where_it_is_of_no_use(
    parameters: dict[str, str], local_node: Any, peer: Any, walk_map: Path
) -> None:
    """Fifty messages a second that nobody reads cost a small computer something."""
    local_node(map_path=str(walk_map), **parameters).start()
    assert peer.until(lambda: peer.count_subscribers('/image'))
    assert peer.count_subscribers('/odom') == 0


def test_odometry_ends_with_the_subscription_to_images(
    local_node: Any, peer: Any, walk_map: Path
) -> None:
    """An inactive node costs nothing, an active one listens again."""
    node = local_node(mode='localization', map_path=str(walk_map)).start().node
    for _ in range(2):
        assert peer.until(lambda: peer.count_subscribers('/odom') == 1)
        node.trigger_deactivate()
        assert peer.until(lambda: peer.count_subscribers('/odom') == 0)
        node.trigger_activate()


@pytest.mark.parametrize(('source', 'level'), [
    ('topic', DiagnosticStatus.WARN), ('auto', DiagnosticStatus.OK)])
def test_odometry_that_was_asked_for_and_never_fits_is_reported(
    *, source: str, level: bytes, local_node: Any, peer: Any, walk_map: Path,
    places: list[ImageArray], stamp: Stamp, decider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks that differ look like no odometry at all; who did not ask is not bothered."""
    monkeypatch.setattr(operation, 'MANY_IMAGES', 2)
    node = local_node(mode='localization', map_path=str(walk_map), odometry_source=source).start()
    peer.ask(places[0], stamp(0))
    drive(node, peer, [stamp(500)])
    peer.ask(places[1], stamp(1))
    peer.diagnostics.clear()
    assert peer.until(lambda: peer.status('matching'))
    found = peer.status('matching')
    assert found.level == level
    assert ('none of 2 images has odometry within 0.1 s' in found.message) == (source == 'topic')
