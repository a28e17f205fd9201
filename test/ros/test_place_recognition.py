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

"""Images in, matches out, over real DDS: the same answers as offline, whatever comes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ros_harness import GatedExtractor
from ros_harness import PixelExtractor
from sensor_msgs.msg import Image

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.records import Status
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import image_message
from vpr_compressed.runtime.extractor import load_extractor

Stamp = Callable[[int], int]
#: So that the answer to a walk of twelve images has accepted places.
MIN_PRECISION = 0.5


def offline(
    model: Path, place_map: PlaceMap, images: list[ImageArray], stamp: Stamp, *, mapping: bool
) -> list[Recognition]:
    """Return what the library says about a walk, without ROS."""
    recognizer = Recognizer(load_extractor(model), place_map, decision=DecisionConfig(
        min_precision=MIN_PRECISION))
    recognizer.mapping, recognizer.localization = mapping, not mapping
    return [
        recognizer.process(image, stamp_ns=stamp(number), pose=Pose(
            position_m=(1.5 * number, 0.0, 0.0)) if mapping else None)
        for number, image in enumerate(images)]


def test_the_node_agrees_with_the_library_frame_by_frame(
    node_process: Any, peer: Any, tmp_path: Path, tiny_model_path: Path,
    places: list[ImageArray], again: list[ImageArray], stamp: Stamp
) -> None:
    """
    Map a walk over DDS, localise on a second one: rows and poses equal the offline ones.

    Status and confidence as well: what is measured offline is what a robot is told.
    """
    common = {'map_path': tmp_path / 'dds.map', 'model_path': tiny_model_path, 'threads': 1,
              'image_qos': 'reliable', 'decision__min_precision': MIN_PRECISION}
    mapper = node_process(mode='mapping', pose_source='topic_pose', pose_wait_s=10.0, **common)
    mapper.wait_until_active(peer)
    for number, image in enumerate(places):
        assert len(peer.ask(image, stamp(number), x_m=1.5 * number)) == 0
    assert mapper.terminate() == 0, mapper.text

    expected_map = PlaceMap.create(
        tmp_path / 'library.map', descriptor_id=load_extractor(tiny_model_path).descriptor_id,
        dimension=load_extractor(tiny_model_path).dimension)
    offline(tiny_model_path, expected_map, places, stamp, mapping=True)
    with PlaceMap.open(tmp_path / 'dds.map') as made:
        ids = [keyframe.keyframe_id for keyframe in made.keyframes()]
        np.testing.assert_array_equal(made.descriptors(ids), expected_map.descriptors(ids))
        assert [k.pose for k in made.keyframes()] == [k.pose for k in expected_map.keyframes()]

    peer.matches.clear()
    peer._publishers_by_topic.clear()
    assert peer.until(lambda: peer.count_subscribers('/image') == 0)
    localizer = node_process(mode='localization', **common)
    localizer.wait_until_active(peer)
    expected = offline(tiny_model_path, expected_map, again, stamp, mapping=False)
    assert any(answer.match is not None for answer in expected), 'a test without matches'
    for number, (image, answer) in enumerate(zip(again, expected)):
        rows, believed = peer.ask(image, stamp(number)), answer.decision
        places_of = {c.keyframe.keyframe_id: c.similarity for c in answer.candidates}
        first = believed.keyframe.keyframe_id
        assert rows['keyframe_id'].tolist() == [first, *(p for p in places_of if p != first)]
        assert rows['status'].tolist() == [believed.status] + [0] * (len(rows) - 1)
        assert rows['confidence'][0] == np.float32(believed.confidence)
        np.testing.assert_allclose(
            rows['similarity'], [places_of.get(place, believed.similarity)
                                 for place in rows['keyframe_id'].tolist()], rtol=0, atol=1e-6)
        if answer.match is None:
            continue
        pose = peer.pose(stamp(number))
        assert pose.pose.pose.position.x == answer.match.keyframe.pose.position_m[0]
        assert pose.header.frame_id == 'map'
    posed = {stamp(n) for n, answer in enumerate(expected) if answer.match is not None}
    assert set(peer.poses) == posed, 'a pose without an accepted place'
    maps = Path(f'/proc/{localizer.process.pid}/maps').read_text(encoding='utf-8')
    assert 'onnxruntime' in maps
    assert 'torch' not in maps, 'the node loads torch'
    assert localizer.terminate() == 0, localizer.text
    expected_map.close()


def test_the_header_of_the_answer_is_that_of_the_image(
    local_node: Any, peer: Any, places: list[ImageArray], stamp: Stamp
) -> None:
    """Consumers pair image and answer by it, to the nanosecond."""
    local_node(mode='slam').start()
    stamp_ns = stamp(3) + 123_456_789
    peer.ask(places[0], stamp_ns)
    header = peer.matches[stamp_ns].header
    assert header == header_at(stamp_ns, 'camera')


@pytest.mark.parametrize(('suffix', 'encoding'), [
    ('.png', 'rgb8; png compressed bgr8'), ('.jpg', 'jpeg')])
def test_compressed_images_are_recognised_too(
    suffix: str, encoding: str, local_node: Any, peer: Any, walk_map: Path,
    again: list[ImageArray], stamp: Stamp
) -> None:
    """Only the base topic is named; the suffix is added to it."""
    node = local_node(
        mode='localization', map_path=str(walk_map), image_transport='compressed').start()
    data = cv2.imencode(suffix, cv2.cvtColor(again[5], cv2.COLOR_RGB2BGR))[1].tobytes()
    peer.send_compressed(data, stamp(0), encoding)
    assert peer.answer(stamp(0))['keyframe_id'][0] == 6
    assert node.node.pipeline.statistics.encoding == encoding


def test_slam_adds_places_and_does_not_match_what_was_just_seen(
    local_node: Any, peer: Any, places: list[ImageArray], again: list[ImageArray], stamp: Stamp,
    decider: Any
) -> None:
    """A loop is closed when the robot comes back, not while it drives on."""
    decider.needed = 2
    node = local_node(mode='slam', recognizer__exclude_recent_s=30.0).start()
    for number, image in enumerate(places):
        assert len(peer.ask(image, stamp(number))) == 0, 'recent places are no loop'
    later = [peer.ask(image, stamp(100 + number)) for number, image in enumerate(again[:3])]
    assert [rows['keyframe_id'][0] for rows in later] == [1, 2, 3]
    assert [int(rows['status'][0]) for rows in later] == [Status.UNSURE, 1, 1]
    assert len(node.node.pipeline.place_map) == 15


def bad_images(image: ImageArray) -> dict[str, Image]:
    """Return images a camera driver may send by mistake."""
    good = image_message(image)
    nan = np.full((96, 128), np.nan, np.float32)
    depth = image_message(np.zeros((96, 128, 4), np.uint8)[..., :3])
    depth.encoding, depth.step, depth.data = '32FC1', 512, type(good.data)('B', nan.tobytes())
    short = image_message(image)
    short.data = short.data[:-7]
    unknown = image_message(image)
    unknown.encoding = 'thermal12'
    return {'depth with NaN': depth, 'too short': short, 'unknown encoding': unknown,
            'empty': Image()}


@pytest.mark.parametrize('kind', ['depth with NaN', 'too short', 'unknown encoding', 'empty'])
def test_a_bad_image_costs_one_frame(
    kind: str, local_node: Any, peer: Any, places: list[ImageArray], stamp: Stamp,
    capfd: pytest.CaptureFixture[str]
) -> None:
    """It is warned about, counted, and the next image is answered as if nothing happened."""
    node = local_node(mode='slam', recognizer__exclude_recent_s=0.0).start()
    peer.ask(places[0], stamp(0))
    message = bad_images(places[1])[kind]
    message.header = header_at(stamp(1), 'camera')
    peer.publisher(Image, '/image').publish(message)
    assert peer.until(lambda: node.node.pipeline.statistics.counts.bad == 1)
    assert peer.ask(places[0], stamp(2))['keyframe_id'][0] == 1
    assert stamp(1) not in peer.matches
    said = capfd.readouterr().err
    assert 'image skipped: ' in said
    assert 'internal error' not in said
    peer.diagnostics.clear()
    assert peer.until(lambda: peer.status('input'))
    assert peer.status('input').message.startswith('1 unusable images, last: ')


def test_a_fault_in_the_library_costs_one_frame_too(
    local_node: Any, peer: Any, places: list[ImageArray], stamp: Stamp,
    capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker thread outlives whatever an engine throws; the log has the traceback."""
    extractor = PixelExtractor()
    node = local_node(extractor, mode='slam').start()
    describe = extractor.describe

    def fail(image: ImageArray) -> np.ndarray:
        raise RuntimeError('engine on fire')

    extractor.describe = fail
    peer.send(places[0], stamp(0))
    assert peer.until(lambda: node.node.pipeline.statistics.counts.bad == 1)
    extractor.describe = describe
    peer.ask(places[0], stamp(1))
    said = capfd.readouterr().err
    assert 'engine on fire' in said
    assert 'Traceback' in said


def test_a_slow_engine_drops_old_images_instead_of_falling_behind(
    local_node: Any, peer: Any, places: list[ImageArray], stamp: Stamp
) -> None:
    """Ten images come during each inference: every answer is about the newest one."""
    engine = GatedExtractor()
    pipeline = local_node(engine, mode='slam', image_qos='reliable').start().node.pipeline
    engine.hold()
    sent = 0

    def send_and_see_it_received() -> None:
        nonlocal sent
        peer.send(places[sent % 12], stamp(sent))
        sent += 1
        assert peer.until(lambda: pipeline.statistics.counts.received == sent)

    send_and_see_it_received()
    for _ in range(3):
        assert peer.until(engine.busy.is_set)
        for _ in range(10):
            send_and_see_it_received()
        assert 'memory only' in peer.call('save_map').message, 'services are answered meanwhile'
        engine.go_on_once()
    engine.go_on()
    assert peer.until(lambda: stamp(30) in peer.matches), 'the newest image is never dropped'
    assert sorted(peer.matches) == [stamp(0), stamp(10), stamp(20), stamp(30)]
    assert pipeline.statistics.counts.dropped == 27


def test_a_jump_back_in_time_forgets_the_earlier_frames(
    local_node: Any, peer: Any, walk_map: Path, again: list[ImageArray], stamp: Stamp,
    decider: Any
) -> None:
    """A bag that starts again: what its end made believe does not count for its beginning."""
    node = local_node(mode='localization', map_path=str(walk_map)).start()
    for start in (100, 0):
        status = [peer.ask(again[n], stamp(start + n))['status'][0] for n in range(4)]
        assert status == [Status.UNSURE, Status.UNSURE, 1, 1]
    assert node.node.pipeline.statistics.counts.time_jumps == 1


def test_an_image_without_a_pose_is_not_added_to_a_map_with_poses(
    local_node: Any, peer: Any, tmp_path: Path, places: list[ImageArray], stamp: Stamp
) -> None:
    """A keyframe nobody can drive to would hide one that has a pose."""
    node = local_node(mode='mapping', map_path=str(tmp_path / 'walk.map'),
                      pose_source='topic_pose', pose_wait_s=10.0).start()
    peer.ask(places[0], stamp(0), x_m=1.0)
    peer.send(places[1], stamp(5))
    peer.send_pose(3.0, stamp(9))  # from now on no nearer one can come
    peer.answer(stamp(5))
    peer.ask(places[2], stamp(9))
    assert node.node.pipeline.statistics.counts.without_pose == 1
    poses = [keyframe.pose.position_m[0] for keyframe in node.node.pipeline.place_map.keyframes()]
    assert poses == [1.0, 3.0]
