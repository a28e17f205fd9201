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

"""The recognizer on a made-up world whose images carry the number of their place."""

from __future__ import annotations

import math
from pathlib import Path
import subprocess
import sys

from made_walks import DIMENSION
from made_walks import SECOND
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import EngineError
from vpr_compressed.errors import MapFileError
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.images.pixels import thumbnail_jpeg
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.records import Status

#: Places 0 to 99 of the road that is mapped; higher numbers lie on another one.
ROAD, ELSEWHERE = World(1), World(2)
UNKNOWN = 100


class FakeExtractor:
    """Describe an image by the place number in its first pixel, and noise from the second."""

    dimension = DIMENSION
    descriptor_id = 'fake'
    calibration = DecisionCalibration()

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return what the place looks like on one of its visits."""
        place, visit = int(image[0, 0, 0]), int(image[0, 1, 0])
        world = ROAD if place < UNKNOWN else ELSEWHERE
        # noise that is each image's own, not each visit's
        return world.at([place % UNKNOWN], visit=1000 * visit + place)[0]


def image_of(place: int, noise: int = 0) -> ImageArray:
    """Return an image of a place; another ``noise`` is another visit."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, :, 0] = place, noise
    return image


def new_recognizer(
    config: RecognizerConfig | None = None, decision: DecisionConfig | None = None
) -> Recognizer:
    """Return a recognizer over an empty map."""
    place_map = PlaceMap.create(None, descriptor_id='fake', dimension=DIMENSION)
    return Recognizer(FakeExtractor(), place_map, config, decision)


def mapped(places: int = 40) -> Recognizer:
    """Return a recognizer that has mapped places 0, 1, ... as keyframes 1, 2, ..."""
    recognizer = new_recognizer()
    recognizer.mapping, recognizer.localization = True, False
    for place in range(places):
        recognizer.process(image_of(place), stamp_ns=place * SECOND)
    recognizer.mapping, recognizer.localization = False, True
    recognizer.reset()
    return recognizer


def test_a_second_visit_is_recognised_and_the_map_not_changed() -> None:
    """From early on each frame gives its own place, with a high confidence."""
    recognizer = mapped()
    for place in range(10, 20):
        result = recognizer.process(image_of(place, noise=1), stamp_ns=place * SECOND)
        assert result.decision is not None
        assert result.decision.keyframe is not None
        assert abs(result.decision.keyframe.keyframe_id - place - 1) <= 1
        if place < 13:
            continue
        assert result.match is not None
        assert result.match.keyframe == result.decision.keyframe
        assert result.match.stamp_ns == place * SECOND
        assert result.match.similarity == result.decision.similarity
        assert 0.9 < result.match.confidence == result.decision.confidence <= 1.0
    assert len(recognizer._map) == 40
    assert result.added is None


def test_an_unknown_place_gives_none_and_its_candidates_no_confidence() -> None:
    """The best guess stays a candidate, and the decision says why it is none."""
    recognizer = mapped()
    for place in range(UNKNOWN, UNKNOWN + 20):
        result = recognizer.process(image_of(place), stamp_ns=place * SECOND)
        assert result.match is None
        assert len(result.candidates) == len(result.confidences) == 5
        assert result.decision is not None
        assert max(result.confidences) <= result.decision.confidence < result.decision.threshold
        assert result.decision.reason.startswith(result.decision.status.words)


def test_a_robot_that_stands_still_and_one_that_drives_back_are_recognised() -> None:
    """Cold start without motion, and the way home."""
    recognizer = mapped()
    for places in ([5] * 4, [30, 29, 28, 27]):
        recognizer.reset()
        for step, place in enumerate(places):
            result = recognizer.process(image_of(place, 1), stamp_ns=step * SECOND)
        assert result.match is not None
        assert abs(result.match.keyframe.keyframe_id - places[-1] - 1) <= 1


def test_online_slam_searches_before_adding_and_leaves_out_what_it_just_saw() -> None:
    """The loop is closed on the first lap, never on the last half minute."""
    recognizer = new_recognizer(RecognizerConfig(exclude_recent_s=30.0))
    recognizer.mapping = True
    for step in range(120):
        result = recognizer.process(image_of(step % 60, step // 60), stamp_ns=step * SECOND)
        assert result.added is not None
        assert result.added.keyframe_id == step + 1
        assert all(c.keyframe.stamp_ns < (step - 30) * SECOND for c in result.candidates)
        if step < 60:
            assert result.match is None
        elif step >= 75:
            assert result.match is not None
            assert abs(result.match.keyframe.keyframe_id - (step - 59)) <= 1


def test_mapping_alone_does_not_search() -> None:
    """Building a map costs no search and gives no matches."""
    recognizer = new_recognizer()
    recognizer.mapping, recognizer.localization = True, False
    results = [recognizer.process(image_of(3, i), stamp_ns=i) for i in range(5)]
    assert all(r.candidates == () and r.decision is r.match is None for r in results)
    assert all(r.added for r in results)


def test_keyframes_carry_what_came_with_their_image() -> None:
    """Pose, external id and name are those of the image."""
    recognizer = new_recognizer()
    recognizer.mapping = True
    pose = Pose(position_m=(1.0, 2.0, 0.0))
    added = recognizer.process(
        image_of(1), stamp_ns=5, pose=pose, external_id='17', name='a.png').added
    assert added is not None
    assert (added.pose, added.external_id, added.name, added.stamp_ns) == (pose, '17', 'a.png', 5)
    assert recognizer._map.keyframes() == [added]


@pytest.mark.parametrize(('gate', 'expected'), [
    ({}, [0, 1, 2, 3, 4, 5]),
    ({'keyframe_min_interval_s': 2.0}, [0, 2, 4]),
    ({'keyframe_min_distance_m': 1.0}, [0, 2, 4]),
    ({'keyframe_max_similarity': 0.6}, [0, 1, 3, 4]),
    ({'keyframe_min_interval_s': 3.0, 'keyframe_max_similarity': 0.6}, [0, 4]),
])
def test_gates_keep_the_map_small(gate: dict[str, object], expected: list[int]) -> None:
    """A keyframe must be late, far and different enough, as far as each is asked for."""
    recognizer = new_recognizer(config_from_mapping(RecognizerConfig, gate))
    recognizer.mapping = True
    for i, place in enumerate([10, 20, 20, 10, 30, 30]):
        recognizer.process(
            image_of(place), stamp_ns=i * SECOND, pose=Pose(position_m=(0.6 * i, 0.0, 0.0)))
    assert [k.stamp_ns // SECOND for k in recognizer._map.keyframes()] == expected


def test_a_jump_back_in_time_starts_again() -> None:
    """Earlier images are forgotten, and what was mapped before counts as another session."""
    recognizer = new_recognizer()
    recognizer.mapping = True
    for place in range(40):
        recognizer.process(image_of(place), stamp_ns=(100 + place) * SECOND)
    results = [recognizer.process(image_of(place, 1), stamp_ns=place * SECOND)
               for place in range(40)]
    assert results[0].decision is not None
    assert results[0].decision.evidence['views'] == 0.0
    matches = [result.match for result in results]
    assert all(m is not None and abs(m.keyframe.keyframe_id - place - 1) <= 1
               for place, m in list(enumerate(matches))[15:])
    assert {k.session for k in recognizer._map.keyframes()} == {1, 2}


@pytest.mark.parametrize('forget', ['reset', 'forget'])
def test_earlier_images_can_be_forgotten(forget: str) -> None:
    """Afterwards a walk is decided as the first one was; only a reset ends the session."""
    recognizer = mapped()
    walk = [image_of(place, 1) for place in range(10, 20)]

    def decisions() -> list[object]:
        return [recognizer.process(image, stamp_ns=100 * SECOND).decision for image in walk]

    first = decisions()
    assert decisions() != first
    getattr(recognizer, forget)()
    assert decisions() == first
    recognizer.mapping = True
    before = recognizer.process(image_of(1), stamp_ns=101 * SECOND).added
    getattr(recognizer, forget)()
    after = recognizer.process(image_of(2), stamp_ns=102 * SECOND).added
    assert before is not None
    assert after is not None
    assert (after.session == before.session) == (forget == 'forget')


def test_what_is_asked_of_the_decision_reaches_it() -> None:
    """Precision and memory; a threshold that nothing reaches accepts nothing."""
    place_map = mapped()._map
    thresholds = {}
    for precision in (0.9, 0.999):
        recognizer = Recognizer(
            FakeExtractor(), place_map, decision=DecisionConfig(
                min_precision=precision, memory_s=1.5))
        views = []
        for stamp_ns in (0, SECOND, 3 * SECOND):
            decision = recognizer.process(image_of(stamp_ns // SECOND, 1), stamp_ns=stamp_ns)
            assert decision.decision is not None
            views.append(decision.decision.evidence['views'])
        assert (views[0], views[1] > 0.0, views[2]) == (0.0, True, 0.0)
        thresholds[precision] = decision.decision.threshold
    curve = FakeExtractor.calibration.walk
    assert thresholds == {p: curve.threshold(p) for p in thresholds}


def test_odometry_reaches_the_decision_and_no_keyframe() -> None:
    """Wheels that stand say that it is one place, whatever the view."""
    recognizer = new_recognizer()
    recognizer.mapping, recognizer.localization = True, False
    for place in range(40):
        added = recognizer.process(
            image_of(place), stamp_ns=place * SECOND, pose=Pose(position_m=(place, 0.0, 0.0)),
            odometry=Pose(position_m=(9.0, 9.0, 0.0), frame_id='odom')).added
        assert added is not None
        assert added.pose == Pose(position_m=(place, 0.0, 0.0))
    recognizer.mapping, recognizer.localization = False, True
    seen: dict[bool, list[object]] = {}
    for moves in (True, False):
        recognizer.reset()
        seen[moves] = [
            recognizer.process(
                image_of(place, 1), stamp_ns=(100 + place) * SECOND, odometry=Pose(
                    position_m=(place if moves else 0.0, 0.0, 0.0), frame_id='odom')).decision
            for place in range(10, 20)]
    assert seen[True] != seen[False]


def test_an_empty_map_is_said_to_be_empty() -> None:
    """No candidates, no match, but a decision with its reason."""
    result = new_recognizer().process(image_of(1), stamp_ns=0)
    assert result.decision is not None
    assert (result.match, result.candidates) == (None, ())
    assert (result.decision.status, result.decision.keyframe) == (Status.EMPTY_MAP, None)


def test_a_gate_lets_through_what_just_reaches_it() -> None:
    """Exactly the interval, the distance and the similarity; a hair less does not."""
    seen = float(FakeExtractor().describe(image_of(1)) @ FakeExtractor().describe(image_of(2)))
    for name, value, stricter in (
            ('keyframe_min_interval_s', 2.0, 2.0 + 1e-9),
            ('keyframe_min_distance_m', 0.5, math.nextafter(0.5, 1.0)),
            ('keyframe_max_similarity', seen, math.nextafter(seen, -1.0))):
        for limit, added in ((value, True), (stricter, False)):
            recognizer = new_recognizer(config_from_mapping(RecognizerConfig, {name: limit}))
            recognizer.mapping = True
            first, second = (recognizer.process(
                image_of(1 + i), stamp_ns=2 * i * SECOND,
                pose=Pose(position_m=(0.5 * i, 0.0, 0.0))).added for i in range(2))
            assert first is not None
            assert (second is not None) == added, name


@pytest.mark.parametrize(('norm', 'usable'), [
    (0.9899, False), (0.9901, True), (1.0099, True), (1.0101, False)])
def test_a_descriptor_may_be_a_hundredth_off_unit_norm(
    monkeypatch: pytest.MonkeyPatch, norm: float, usable: bool
) -> None:
    """Int8 networks round; standing still, each such image still is a keyframe if asked for."""
    recognizer = new_recognizer(RecognizerConfig(keyframe_max_similarity=1.0))
    recognizer.mapping = True
    row = np.full(DIMENSION, norm / 8.0, np.float32)
    monkeypatch.setattr(FakeExtractor, 'describe', lambda self, image: row)
    if usable:
        assert all(recognizer.process(image_of(0), stamp_ns=i).added for i in range(3))
        return
    with pytest.raises(EngineError, match='instead of 1'):
        recognizer.process(image_of(0), stamp_ns=0)


def test_two_images_of_one_stamp_are_of_one_session() -> None:
    """Only a stamp before the last one is a jump back in time."""
    recognizer = new_recognizer()
    recognizer.mapping = True
    for stamp in (5, 5, 4, 4):
        recognizer.process(image_of(1), stamp_ns=stamp)
    assert [k.session for k in recognizer._map.keyframes()] == [1, 1, 2, 2]


@pytest.mark.parametrize(('descriptor', 'message'), [
    (np.full(DIMENSION, np.nan), 'norm nan'),
    (np.zeros(DIMENSION), 'norm 0'),
    (np.ones(DIMENSION), 'norm 8'),
    (np.ones(DIMENSION - 1), r'shape \(63,\)'),
])
def test_a_network_that_returns_no_unit_descriptor_is_an_error(
    monkeypatch: pytest.MonkeyPatch, descriptor: DescriptorArray, message: str
) -> None:
    """Nothing of it reaches the map."""
    recognizer = new_recognizer()
    recognizer.mapping = True
    monkeypatch.setattr(FakeExtractor, 'describe', lambda self, image: descriptor)
    with pytest.raises(EngineError, match=message):
        recognizer.process(image_of(0), stamp_ns=0)
    assert len(recognizer._map) == 0


@pytest.mark.parametrize(('descriptor_id', 'dimension'), [('other', DIMENSION), ('fake', 16)])
def test_a_map_of_another_model_is_refused(descriptor_id: str, dimension: int) -> None:
    """Before the first image."""
    place_map = PlaceMap.create(None, descriptor_id=descriptor_id, dimension=dimension)
    with pytest.raises(MapFileError, match='build the map again'):
        Recognizer(FakeExtractor(), place_map)


@pytest.mark.parametrize(('values', 'message'), [
    ({'top_k': 0}, 'top_k'),
    ({'top_k': 65}, 'top_k'),
    ({'exclude_recent_s': -1.0}, 'exclude_recent_s'),
    ({'keyframe_min_interval_s': float('nan')}, 'keyframe_min_interval_s'),
    ({'keyframe_max_similarity': 2.0}, 'keyframe_max_similarity'),
    ({'topk': 3}, 'did you mean'),
])
def test_nonsense_is_refused(values: dict[str, object], message: str) -> None:
    """Whether a value is out of range or a name misspelt."""
    with pytest.raises(ConfigError, match=message):
        config_from_mapping(RecognizerConfig, values)


def test_importing_the_recognizer_stays_light() -> None:
    """Neither torch nor plotting, nor ROS, comes with it."""
    heavy = ('torch', 'torchvision', 'matplotlib', 'rclpy', 'rosbags', 'onnx')
    code = ('import sys, vpr_compressed.recognizer\n'
            f'print([name for name in {heavy} if name in sys.modules])')
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == '[]'


@pytest.mark.parametrize(('width', 'shape'), [(160, (90, 160)), (40, (22, 40)), (0, None)])
def test_a_keyframe_is_stored_with_a_small_picture(
    width: int, shape: tuple[int, int] | None, tmp_path: Path
) -> None:
    """Of the image's shape and colours; a place that is only recognised stores nothing."""
    image = np.zeros((360, 640, 3), np.uint8)
    image[:, :] = 200, 100, 20
    config = RecognizerConfig(thumbnail_width=width)
    with PlaceMap.create(
            tmp_path / 'map', descriptor_id='fake', dimension=DIMENSION) as place_map:
        recognizer = Recognizer(FakeExtractor(), place_map, config)
        assert recognizer.process(image, stamp_ns=0).added is None
        recognizer.mapping = True
        added = recognizer.process(image, stamp_ns=SECOND).added
        assert added is not None
        data = place_map.thumbnail(added.keyframe_id)
        assert place_map.thumbnail_bytes == (0 if data is None else len(data))
    if shape is None:
        assert data is None
        return
    assert data is not None
    small = rgb_from_encoded(data, name='thumbnail')
    assert small.shape == (*shape, 3)
    assert np.abs(small.astype(int) - image[0, 0]).max() < 8


def test_a_map_in_memory_stores_no_pictures() -> None:
    """They would take more memory than everything else of a place."""
    recognizer = new_recognizer(RecognizerConfig(thumbnail_width=160))
    recognizer.mapping = True
    recognizer.process(image_of(1), stamp_ns=0)
    assert recognizer._map.thumbnail_bytes == 0


def test_a_picture_is_never_made_larger() -> None:
    """A camera of 80 pixels is small enough; a strip keeps a row."""
    small = rgb_from_encoded(thumbnail_jpeg(np.zeros((60, 80, 3), np.uint8), 160), name='small')
    assert small.shape == (60, 80, 3)
    strip = rgb_from_encoded(thumbnail_jpeg(np.zeros((2, 800, 3), np.uint8), 160), name='strip')
    assert strip.shape == (1, 160, 3)
