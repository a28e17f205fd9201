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

"""The measurement: the map's own ranking, every image, nothing invented, replays included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import ClassVar

import cv2
import numpy as np
import pytest

from vpr_compressed import recognizer
from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.decision.decider import Answer
from vpr_compressed.decision.decider import PlaceDecider
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import SourceError
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.offline.measuring import two_recordings
from vpr_compressed.offline.measuring.model_process import load_measured
from vpr_compressed.offline.measuring.recognition_run import ColdStart
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.measuring.replay import Replay
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import Decision
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.records import Status
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.sources import FolderSource
from vpr_compressed.sources import Frame


class Thumbnail:
    """Describe an image by its pixels: simple enough to be computed again in a test."""

    dimension = 48
    descriptor_id = '00000000feedf00d'
    calibration = DecisionCalibration()
    model_name = 'thumbnail'

    def __init__(self) -> None:
        self.calls = 0

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return the pixels of the 4x4 image around their mean, unit norm."""
        self.calls += 1
        vector = image.astype(np.float32).reshape(-1)
        vector = vector - vector.mean()
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


class ThirdInARow(PlaceDecider):
    """Accept what looks the same for the third time since the start; believe it before."""

    #: Odometry of every image so far.
    told: ClassVar[list[Pose | None]] = []

    def __init__(
        self, place_map: PlaceMap, calibration: DecisionCalibration,
        config: DecisionConfig | None = None
    ) -> None:
        super().__init__(place_map, calibration, config)
        self._map = place_map
        self._config = config or DecisionConfig()
        self._seen = 0

    def reset(self) -> None:
        """Forget."""
        self._seen = 0

    def update(
        self, descriptor: DescriptorArray, *, stamp_ns: int, top_k: int,
        odometry: Pose | None = None, exclude_since_ns: int | None = None
    ) -> Answer:
        """Take one image."""
        self.told.append(odometry)
        found = self._map.search(descriptor, top_k, exclude_since_ns=exclude_since_ns)
        self._seen += bool(found) and found[0].similarity > 0.98
        if not found:
            return Answer([], [], Decision(
                status=Status.EMPTY_MAP, keyframe=None, similarity=float('nan'), confidence=0.0,
                reason='empty'))
        status = Status.UNKNOWN if found[0].similarity <= 0.98 else (
            Status.ACCEPTED if self._seen >= 3 else Status.UNSURE)
        return Answer(found, [0.5] * len(found), Decision(
            status=status, keyframe=found[0].keyframe, similarity=found[0].similarity,
            confidence=self._config.min_precision, reason=f'seen {self._seen} times',
            evidence={'seen': self._seen}))


@pytest.fixture(autouse=True)
def decider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decide in a way that can be counted by hand."""
    monkeypatch.setattr(recognizer, 'PlaceDecider', ThirdInARow)
    monkeypatch.setattr(ThirdInARow, 'told', [])


def write_images(path: Path, images: list[ImageArray]) -> FolderSource:
    """Write images without loss."""
    path.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(path / f'{number}.png'), image[..., ::-1])
    return FolderSource(path)


@pytest.fixture
def images(rng: np.random.Generator) -> list[ImageArray]:
    """Return ten different images of 4x4 pixels."""
    return [rng.integers(0, 256, (4, 4, 3)).astype(np.uint8) for _ in range(10)]


def test_ranking_is_that_of_the_similarities(tmp_path: Path, images: list[ImageArray]) -> None:
    """Complete, best first, and equal to brute force up to the rounding of the stored bytes."""
    reference = write_images(tmp_path / 'reference', images)
    query = write_images(tmp_path / 'query', images[:4])
    seen: list[tuple[int, int]] = []
    found = two_recordings.measure(
        reference, query, Thumbnail(),  # type: ignore[arg-type]
        progress=lambda done, total: seen.append((done, total)))
    described = np.stack([Thumbnail().describe(image) for image in images])
    for number in range(4):
        expected = described @ described[number]
        np.testing.assert_allclose(
            found.similarities[number], np.sort(expected)[::-1], atol=0.01)
        assert sorted(found.rows[number].tolist()) == list(range(10))
        assert found.rows[number, 0] == number
    assert seen == [(number, 14) for number in range(1, 15)]
    assert found.reference_names == tuple(f'{number}.png' for number in range(10))
    assert found.bytes_per_place > 48


def matches(run: RecognitionRun) -> list[int | None]:
    """Return the accepted place of each image that was shown."""
    return [query.match_row for query in run.queries]


def measure(reference: FolderSource, query: FolderSource, *unknown: FolderSource,
            trial: Trial | None = None) -> RecognitionRun:
    """Measure with descriptors that are easy to follow."""
    return two_recordings.measure(
        reference, query, Thumbnail(), trial=trial, unknown=unknown)  # type: ignore[arg-type]


def replayed(**how: Any) -> Trial:
    """Return a trial that walks otherwise."""
    return Trial(replay=Replay(**how))


def test_every_decision_is_kept_with_its_reason(tmp_path: Path, images: list[ImageArray]) -> None:
    """The same walk again: withheld at first, right from the third image on."""
    source = write_images(tmp_path / 'walk', images)
    found = measure(source, source, trial=Trial(decision=DecisionConfig(min_precision=0.7)))
    assert matches(found) == [None, None, *range(2, 10)]
    assert [query.decided_row for query in found.queries] == list(range(10))
    first, third = found.queries[0], found.queries[2]
    assert (first.status, first.words) == (Status.UNSURE, 'not sure enough yet')
    assert (first.reason, first.evidence) == ('seen 1 times', {'seen': 1.0})
    assert first.decided_similarity == pytest.approx(1.0, abs=0.01)
    assert third.status == Status.ACCEPTED
    assert third.confidence == 0.7, 'the decision was not set to what was asked for'
    assert found.thresholds['walk'] == Thumbnail.calibration.walk.threshold(0.7)
    assert found.reference_sha256 == found.query_sha256


def test_a_walk_backwards_twice_as_fast_is_every_second_image_from_the_end(
    tmp_path: Path, images: list[ImageArray]
) -> None:
    """Rankings follow; the network is asked once for each image."""
    source, thumbnail = write_images(tmp_path / 'walk', images), Thumbnail()
    found = two_recordings.measure(
        source, source, thumbnail,  # type: ignore[arg-type]
        trial=replayed(reverse=True, speed=2.0))
    assert thumbnail.calls == 20
    assert [query.index for query in found.queries] == [9, 7, 5, 3, 1]
    assert [query.name for query in found.queries] == [f'{n}.png' for n in (9, 7, 5, 3, 1)]
    assert found.rows[:, 0].tolist() == [9, 7, 5, 3, 1]
    assert matches(found) == [None, None, 5, 3, 1]
    stamps = [query.stamp_ns for query in found.queries]
    assert np.diff(stamps).tolist() == [500_000_000] * 4, 'the camera keeps its rate'


def test_a_slow_walk_stands_at_each_image(tmp_path: Path, images: list[ImageArray]) -> None:
    """Half as fast: twice as many images at the same rate."""
    source = write_images(tmp_path / 'walk', images[:4])
    found = measure(source, source, trial=replayed(speed=0.5))
    assert [query.index for query in found.queries] == [0, 0, 1, 1, 2, 2, 3, 3]
    stamps = [query.stamp_ns for query in found.queries]
    assert np.diff(stamps).tolist() == [500_000_000] * 7
    assert found.similarities.shape[0] == found.rows.shape[0] == 8


def test_a_robot_that_is_switched_off_forgets(tmp_path: Path, images: list[ImageArray]) -> None:
    """Every fourth image is a cold start."""
    source = write_images(tmp_path / 'walk', images)
    found = measure(source, source, trial=replayed(start_every=4))
    assert matches(found) == [None, None, 2, 3, None, None, 6, 7, None, None]
    assert found.cold_starts == (
        ColdStart(start=0, images=3, match_row=2), ColdStart(start=4, images=3, match_row=6))


def test_cold_starts_do_not_disturb_the_walk(tmp_path: Path, images: list[ImageArray]) -> None:
    """They are tried beside it, and given up at its end."""
    source = write_images(tmp_path / 'walk', images)
    other = write_images(tmp_path / 'other', images[:2] + [255 - image for image in images[2:]])
    assert measure(source, source).cold_starts == (ColdStart(start=0, images=3, match_row=2),)
    assert measure(source, other).cold_starts == (
        ColdStart(start=0, images=None, match_row=None),)


def test_a_cold_start_is_given_up_after_some_images(
    tmp_path: Path, images: list[ImageArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third image is one too late."""
    monkeypatch.setattr(two_recordings, 'START_LIMIT', 2)
    source = write_images(tmp_path / 'walk', images)
    assert measure(source, source).cold_starts[0].images is None


def test_what_is_cut_out_of_the_map_is_not_found(
    tmp_path: Path, images: list[ImageArray]
) -> None:
    """Rows are those of the whole reference, so that ground truth and pictures still fit."""
    source = write_images(tmp_path / 'walk', images)
    found = measure(source, source, trial=replayed(cut=((2, 4), (7, 8))))
    assert found.places == 7
    assert len(found.reference_names) == 10
    assert not np.isin(found.rows, [2, 3, 7]).any()
    assert matches(found) == [None, None, None, None, 4, 5, 6, None, 8, 9]
    assert found.queries[3].words == 'nothing known looks like this'


def test_cuts_that_do_not_fit_are_refused(tmp_path: Path, images: list[ImageArray]) -> None:
    """Beyond the end, all of it, or nothing."""
    source = write_images(tmp_path / 'walk', images)
    with pytest.raises(ConfigError, match='ends after the last of the 10 images'):
        measure(source, source, trial=replayed(cut=((2, 11),)))
    with pytest.raises(ConfigError, match='leave none of the 10 images'):
        measure(source, source, trial=replayed(cut=((0, 5), (5, 10))))
    with pytest.raises(ConfigError, match='cut 3:3 is empty'):
        replayed(cut=((3, 3),))
    assert measure(source, source, trial=replayed(cut=((1, 10),))).places == 1


def test_unknown_walks_start_from_a_clean_belief(
    tmp_path: Path, images: list[ImageArray]
) -> None:
    """The walk before them has accepted; two images of the map do not."""
    source = write_images(tmp_path / 'walk', images)
    inverse = write_images(tmp_path / 'inverse', [255 - image for image in images[:4]])
    two, three = (
        write_images(tmp_path / str(count), images[:count]) for count in (2, 3))
    found = measure(source, source, inverse, two, three)
    assert [[query.match_row for query in walk.queries] for walk in found.unknown] == [
        [None] * 4, [None] * 2, [None, None, 2]]
    assert [walk.source for walk in found.unknown] == [
        each.describe() for each in (inverse, two, three)]
    assert matches(found) == matches(measure(source, source)), 'they must not disturb the walk'


def test_poses_are_odometry_only_where_that_is_wanted(
    tmp_path: Path, images: list[ImageArray]
) -> None:
    """They follow the replay; a robot that stands has not moved."""
    path = write_images(tmp_path / 'walk', images[:2]).path
    (path / 'poses.csv').write_text('name,x_m,y_m\n0.png,0,0\n1.png,7,0\n')
    source = FolderSource(path)
    measure(source, source)
    assert set(ThirdInARow.told) == {None}
    ThirdInARow.told.clear()
    measure(source, source, trial=Trial(
        replay=Replay(reverse=True, speed=0.5), odometry=True))
    assert [pose and pose.position_m[0] for pose in ThirdInARow.told[:4]] == [7, 7, 0, 0]


def test_a_loop_is_recognised_in_its_own_past(tmp_path: Path, images: list[ImageArray]) -> None:
    """Six places, and again; what was seen in the last two seconds is not searched."""
    source = write_images(tmp_path / 'loop', images[:6] + images[:6])
    thumbnail = Thumbnail()
    found = two_recordings.measure_revisits(
        source, thumbnail,  # type: ignore[arg-type]
        trial=Trial(revisits=True, recognizer=RecognizerConfig(exclude_recent_s=2.0)))
    assert thumbnail.calls == 12
    assert found.places == len(found.reference_names) == 12
    assert matches(found) == [None] * 8 + [2, 3, 4, 5]
    assert found.queries[4].words == 'nothing in the map to compare with'
    assert found.queries[4].decided_row is None
    # Images come every half second: five are at most 2 s old, with the image itself.
    assert (found.rows[4] >= 0).sum() == 0
    assert (found.rows[5] >= 0).sum() == 1
    assert found.rows[6, 0] == 0
    assert all(row.max() < number - 4 for number, row in enumerate(found.rows) if row.max() >= 0)


def test_large_runs_are_ranked_less_deep(
    tmp_path: Path, images: list[ImageArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays bounded; the first places are still there."""
    monkeypatch.setattr(two_recordings, 'MAX_SIMILARITIES', 12)
    monkeypatch.setattr(two_recordings, 'MIN_DEPTH', 3)
    reference = write_images(tmp_path / 'reference', images)
    query = write_images(tmp_path / 'query', images[:3])
    found = two_recordings.measure(reference, query, Thumbnail())  # type: ignore[arg-type]
    assert found.rows.shape == (3, 4)
    assert found.rows[:, 0].tolist() == [0, 1, 2]


def test_source_that_ends_early_is_refused(tmp_path: Path, images: list[ImageArray]) -> None:
    """Recall over fewer queries than announced would look like a result."""
    class Short(FolderSource):
        def __iter__(self) -> Iterator[Frame]:
            return iter(list(super().__iter__())[:-1])

    source = write_images(tmp_path / 'walk', images)
    with pytest.raises(SourceError, match=r'\(10 images\) gave only 9 images'):
        two_recordings.measure(source, Short(source.path), Thumbnail())  # type: ignore[arg-type]


def test_loading_a_model_is_measured(tiny_model_path: Path) -> None:
    """Loaded, run once, and ready."""
    extractor, cost = load_measured(tiny_model_path, engine='onnxruntime', threads=1)
    assert cost.load_s > 0
    assert cost.peak_bytes >= cost.resident_bytes >= 0
    expected = load_extractor(tiny_model_path, threads=1)
    assert extractor.descriptor_id == expected.descriptor_id
