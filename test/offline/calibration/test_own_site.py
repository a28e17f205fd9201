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

"""Labels from recordings of a user's own site, with positions and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.offline.accuracy.ground_truth import from_tolerance
from vpr_compressed.offline.calibration import own_site
from vpr_compressed.offline.calibration.evidence import Judged
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import Route
from vpr_compressed.offline.calibration.evidence import UNCLEAR
from vpr_compressed.offline.calibration.evidence import WRONG

SECOND = 1_000_000_000
#: Images of a lap, one a second; a robot leaves out the last 30 s.
LAP = 100
CURVE = DecisionCalibration().walk


def recording(places: np.ndarray, *, positions: bool = False) -> own_site.Recording:
    """Return images along a made-up way on which near places look alike, one a second."""
    knots = np.random.default_rng(5).standard_normal((int(places.max()) // 3 + 2, 64))
    at = places / 3.0
    low = np.floor(at).astype(int)
    blend = (at - low)[:, np.newaxis]
    views = (1 - blend) * knots[low] + blend * knots[low + 1]
    views += 0.05 * np.random.default_rng(6).standard_normal(views.shape)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    route = Route(views.astype(np.float32), tuple(SECOND * n for n in range(len(places))))
    where = np.column_stack([places, np.zeros((len(places), 2))]).astype(np.float64)
    return own_site.Recording(name='loop', route=route, positions_m=where if positions else None)


TWICE = np.concatenate([np.arange(LAP), np.arange(LAP)]).astype(float)


def seen(given: own_site.Recording, sure: Sequence[int], rows: dict[int, int]) -> Judged:
    """Return decisions that are sure of some images, and where they believe them."""
    size = len(given.route)
    believed = np.full(size, -1, np.int64)
    believed[list(rows)] = list(rows.values())
    confidences = np.full(size, 0.3)
    confidences[list(sure)] = 0.9999
    walk = own_site.first_pass(given)
    return Judged(
        walk=walk, evidence=({},) * size, bases=('',) * size, rows=believed,
        confidences=confidences, labels=np.full(size, UNCLEAR, np.int8),
        answerable=np.zeros(size, bool), unknown=np.zeros(size, bool))


def label(walk: LabelledWalk, image: int, row: int) -> int:
    """Return one label."""
    return int(walk.labels[image, row])


def test_two_recordings_are_labelled_by_their_answers() -> None:
    """Right answers are right, all others wrong; junk is neither."""
    reference, query = recording(np.arange(40.0)), recording(np.arange(40.0))
    truth = replace(from_tolerance(40, 40, 1), junk=tuple(
        frozenset({query + 3} if query + 3 < 40 else ()) for query in range(40)))
    walk, *cut = own_site.between(reference, query, truth)
    assert [label(walk, 10, row) for row in (8, 9, 10, 11, 12, 13)] == [
        WRONG, RIGHT, RIGHT, RIGHT, WRONG, UNCLEAR]
    assert walk.counted.all()
    assert len(cut) == 3


def test_places_that_are_cut_out_are_unknown_and_the_others_only_lead_there() -> None:
    """Every image with a place is asked once without it, its surroundings gone as well."""
    reference, query = recording(np.arange(60.0)), recording(np.arange(60.0))
    _, *cut = own_site.between(reference, query, from_tolerance(60, 60, 1))
    assert np.sum([walk.counted for walk in cut], axis=0).tolist() == [1] * 60
    for walk in cut:
        (kept,) = walk.mapped
        assert 10 < len(kept) < 45
        assert walk.labels.shape == (60, len(kept))
        assert (walk.labels[walk.counted] == WRONG).all()
        there = {view.tobytes() for view in reference.route.descriptors[walk.counted]}
        assert not there & {view.tobytes() for view in kept.descriptors}


def test_positions_say_what_is_right() -> None:
    """Within the radius and longer ago than what is left out; in between is neither."""
    walk, *cut = own_site.with_positions(recording(TWICE, positions=True), 2.0)
    assert [label(walk, 150, row) for row in (50, 52, 53, 54, 55)] == [
        RIGHT, RIGHT, UNCLEAR, UNCLEAR, WRONG]
    assert (walk.labels[:LAP] == WRONG).all(), 'the first lap has nothing to come back to'
    assert label(walk, 150, 149) == WRONG, 'what is recent is not searched'
    for part in cut:
        assert part.left_out
        assert (part.labels[part.counted] == WRONG).all()


def test_a_recording_that_does_not_come_back_is_refused() -> None:
    """With what was found, what is needed and what else could be given."""
    with pytest.raises(VprError, match=r'comes back to 0 of its 100 .* needed are 30'):
        own_site.with_positions(recording(np.arange(100.0), positions=True), 2.0)
    with pytest.raises(VprError, match='--pose-topic'):
        own_site.with_positions(recording(TWICE), 2.0)
    given = recording(np.arange(150.0))
    with pytest.raises(VprError, match=r'comes back to 0 of its 150 .* --reference and --query'):
        own_site.by_itself(given, seen(given, range(0), {}), CURVE)


def second_lap(sure: range) -> tuple[own_site.Recording, Judged]:
    """Return two laps of which some images of the second one were surely recognised."""
    given = recording(TWICE)
    return given, seen(given, sure, {image: image - LAP for image in sure})


def test_a_sure_stretch_is_followed_to_images_that_were_not_sure() -> None:
    """These are what a curve is fitted to: there the decision was not sure yet, but right."""
    given, first = second_lap(range(140, 180))
    walk, *cut = own_site.by_itself(given, first, CURVE)
    revisits = np.flatnonzero((walk.labels == RIGHT).any(axis=1))
    assert revisits.min() == 140 - 15
    assert revisits.max() == 179 + 15
    for image in revisits:
        assert label(walk, image, image - LAP) == RIGHT
        assert label(walk, image, (image - LAP + 40) % LAP) == WRONG
    assert walk.doubtful
    assert len(cut) == 3


def test_images_that_no_sure_stretch_explains_are_wrong_or_in_doubt() -> None:
    """Stretches that look alike may be the same place; those that do not are not."""
    given, first = second_lap(range(140, 180))
    walk, *_ = own_site.by_itself(given, first, CURVE)
    assert label(walk, 110, 10) == UNCLEAR, 'a place that was seen, but not surely recognised'
    assert np.mean([label(walk, 110, row) == WRONG for row in range(60, 75)]) > 0.7


def test_a_stretch_ends_where_the_images_no_longer_fit() -> None:
    """The robot turns off; the way is not followed into the unknown."""
    places = np.concatenate([np.arange(LAP), np.arange(60), 200.0 + np.arange(40)])
    given = recording(places)
    sure = range(120, 160)
    walk, *_ = own_site.by_itself(
        given, seen(given, sure, {image: image - LAP for image in sure}), CURVE)
    revisits = np.flatnonzero((walk.labels == RIGHT).any(axis=1))
    assert revisits.max() < 164


def test_a_walk_back_is_followed_backwards() -> None:
    """Rows fall while images rise."""
    there = np.arange(100.0)
    given = recording(np.concatenate([there, there[::-1]]))
    sure = range(150, 180)
    walk, *_ = own_site.by_itself(
        given, seen(given, sure, {image: 199 - image for image in sure}), CURVE)
    assert label(walk, 140, 59) == RIGHT
    assert label(walk, 190, 9) == RIGHT


@pytest.mark.parametrize('rows', ['stands', 'jumps', 'short'])
def test_what_is_sure_but_no_way_is_not_believed(rows: str) -> None:
    """One place again and again, places here and there, or a glimpse."""
    given = recording(TWICE)
    sure = range(140, 145) if rows == 'short' else range(140, 190)
    jumps = np.random.default_rng(0).permutation(LAP)
    where = {image: {'stands': 40, 'jumps': int(jumps[image - LAP]), 'short': image - LAP}[rows]
             for image in sure}
    with pytest.raises(VprError, match='comes back to 0'):
        own_site.by_itself(given, seen(given, sure, where), CURVE)


def test_a_way_that_looks_like_many_is_not_believed() -> None:
    """A corridor whose doors repeat fools the decision; other ways fit as well, so who knows."""
    given = recording(np.arange(240.0) % 40.0)
    sure = range(180, 230)
    with pytest.raises(VprError, match='comes back to 0'):
        own_site.by_itself(given, seen(given, sure, {image: image - 80 for image in sure}), CURVE)


def test_a_third_lap_finds_both_earlier_ones() -> None:
    """A place has as many right rows as it was passed before."""
    given = recording(np.concatenate([np.arange(LAP)] * 3).astype(float))
    sure = [*range(110, 195), *range(210, 295)]
    where = {image: image - LAP for image in sure}
    walk, *_ = own_site.by_itself(given, seen(given, sure, where), CURVE)
    assert label(walk, 250, 150) == RIGHT
    assert label(walk, 250, 50) == RIGHT
    assert label(walk, 250, 20) == WRONG


def test_another_recording_is_unknown_throughout() -> None:
    """Every answer to it is wrong."""
    walk = own_site.unknown(recording(np.arange(30.0)), recording(100.0 + np.arange(20)))
    assert walk.labels.shape == (20, 30)
    assert (walk.labels == WRONG).all()
