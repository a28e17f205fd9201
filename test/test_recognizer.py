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

import numpy as np
import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.consistency import ConsistencyConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import EngineError
from vpr_compressed.errors import MapFileError
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.images.pixels import thumbnail_jpeg
from vpr_compressed.model_file.spec import SimilarityCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose

SECOND = 1_000_000_000
DIMENSION = 64


class FakeExtractor:
    """Describe an image by the place number in its first pixel, and noise from the second."""

    dimension = DIMENSION
    descriptor_id = 'fake'
    calibration = SimilarityCalibration(threshold=0.6, slope=20.0, offset=0.5)

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return a random unit vector seeded by the place, plus a little noise."""
        place, noise = int(image[0, 0, 0]), int(image[0, 1, 0])
        vector = np.random.default_rng(place).standard_normal(DIMENSION)
        vector += 0.3 * np.random.default_rng([place, noise]).standard_normal(DIMENSION)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def image_of(place: int, noise: int = 0) -> ImageArray:
    """Return an image of a place; another ``noise`` is another visit."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, :, 0] = place, noise
    return image


def new_recognizer(
    config: RecognizerConfig | None = None, consistency: ConsistencyConfig | None = None
) -> Recognizer:
    """Return a recognizer over an empty map."""
    place_map = PlaceMap.create(None, descriptor_id='fake', dimension=DIMENSION)
    return Recognizer(FakeExtractor(), place_map, config, consistency)


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
    """From the third frame on each frame gives its own place, with a high confidence."""
    recognizer = mapped()
    for place in range(10, 20):
        result = recognizer.process(image_of(place, noise=1), stamp_ns=place * SECOND)
        if place < 12:
            assert result.match is None
            continue
        assert result.match is not None
        assert result.match.keyframe.keyframe_id == place + 1
        assert result.match.stamp_ns == place * SECOND
        assert result.match.votes == min(place - 9, 5)
        assert 0.9 < result.match.confidence <= 1.0
    assert len(recognizer._map) == 40
    assert result.added is None


def test_an_unknown_place_gives_none_and_its_candidates_no_confidence() -> None:
    """The best guess stays a candidate."""
    recognizer = mapped()
    for place in range(100, 120):
        result = recognizer.process(image_of(place), stamp_ns=place * SECOND)
        assert result.match is None
        assert len(result.candidates) == len(result.confidences) == 5
        assert max(result.confidences) < 0.5


def test_confidence_comes_from_the_mean_of_the_agreeing_frames() -> None:
    """Not from the last frame alone."""
    recognizer = mapped()
    results = [recognizer.process(image_of(7, noise), stamp_ns=noise) for noise in (1, 2, 3)]
    mean = np.mean([r.candidates[0].similarity for r in results])
    assert results[-1].match is not None
    expected = FakeExtractor.calibration.confidence(float(mean))
    assert results[-1].match.confidence == pytest.approx(expected)
    assert results[-1].confidences[0] == pytest.approx(
        FakeExtractor.calibration.confidence(results[-1].candidates[0].similarity))


def test_a_robot_that_stands_still_and_one_that_drives_back_are_recognised() -> None:
    """Cold start without motion, and the way home."""
    recognizer = mapped()
    for places in ([5] * 4, [30, 29, 28, 27]):
        recognizer.reset()
        for step, place in enumerate(places):
            result = recognizer.process(image_of(place, step + 1), stamp_ns=step * SECOND)
        assert result.match is not None
        assert result.match.keyframe.keyframe_id == places[-1] + 1


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
        elif step >= 62:
            assert result.match is not None
            assert result.match.keyframe.keyframe_id == step - 59


def test_mapping_alone_does_not_search() -> None:
    """Building a map costs no search and gives no matches."""
    recognizer = new_recognizer()
    recognizer.mapping, recognizer.localization = True, False
    results = [recognizer.process(image_of(3, i), stamp_ns=i) for i in range(5)]
    assert all(r.candidates == () and r.match is None and r.added for r in results)


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
    for i, place in enumerate([1, 2, 2, 1, 3, 3]):
        recognizer.process(
            image_of(place), stamp_ns=i * SECOND, pose=Pose(position_m=(0.6 * i, 0.0, 0.0)))
    assert [k.stamp_ns // SECOND for k in recognizer._map.keyframes()] == expected


def test_a_jump_back_in_time_starts_again() -> None:
    """Votes are forgotten, and what was mapped before counts as another session."""
    recognizer = new_recognizer()
    recognizer.mapping = True
    for place in range(20):
        recognizer.process(image_of(place), stamp_ns=(100 + place) * SECOND)
    matches = [recognizer.process(image_of(place, 1), stamp_ns=place * SECOND).match
               for place in range(20)]
    assert matches[:2] == [None, None]
    assert [m and m.keyframe.keyframe_id for m in matches[2:]] == list(range(3, 21))
    assert {k.session for k in recognizer._map.keyframes()} == {1, 2}


def test_reset_forgets_the_votes() -> None:
    """After it, three frames are needed again."""
    recognizer = mapped()
    for stamp in range(3):
        result = recognizer.process(image_of(5, stamp), stamp_ns=stamp)
    assert result.match is not None
    recognizer.reset()
    assert recognizer.process(image_of(5, 9), stamp_ns=4).match is None


@pytest.mark.parametrize(('min_similarity', 'accepted'), [
    (-1.0, True), (0.6, True), (0.99, False)])
def test_the_similarity_a_match_needs_is_the_calibrated_one_unless_given(
    min_similarity: float, accepted: bool
) -> None:
    """A stricter one than any revisit reaches accepts nothing."""
    source = mapped()
    recognizer = Recognizer(
        FakeExtractor(), source._map, RecognizerConfig(min_similarity=min_similarity))
    for stamp in range(4):
        result = recognizer.process(image_of(5, stamp + 1), stamp_ns=stamp)
    assert (result.match is not None) == accepted
    assert recognizer.threshold == (0.6 if min_similarity < 0 else min_similarity)


@pytest.mark.parametrize('votes_from', [-1.0, -0.5])
def test_a_similarity_of_exactly_the_threshold_is_enough(votes_from: float) -> None:
    """For a vote and for the answer; the next larger threshold is not reached."""
    source = mapped(10)
    seen = source.process(image_of(5, 1), stamp_ns=0).candidates[0].similarity
    single = ConsistencyConfig(window=1, min_votes=1, min_similarity=votes_from)
    for threshold, accepted in ((seen, True), (math.nextafter(seen, 1.0), False)):
        config = RecognizerConfig(min_similarity=threshold)
        recognizer = Recognizer(FakeExtractor(), source._map, config, single)
        match = recognizer.process(image_of(5, 1), stamp_ns=0).match
        assert (match is not None) == accepted


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
