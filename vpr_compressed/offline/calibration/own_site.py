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
Labelled walks from recordings of a user's own site.

Two recordings with right answers, one recording with positions that comes back to its places, or
one recording that comes back and nothing else. Places that the map lacks are made from those it
has: a third of the walk is asked once more with its surroundings taken out of the map.

Without positions the recording itself must say what is right, and only what is beyond doubt
counts. Where the present curve is sure, image after image along the way, though most places are
new to a robot that maps, and no other way through the recording looks nearly as much like it, the
robot has surely been there before. Such a stretch is followed on along the way in both directions
while the images fit: there the decision was not yet, or no longer, sure, and this is what a curve
is fitted to. An answer to any other image is wrong where the two stretches do not look alike, and
else in doubt: it is left out of the fit, and counts as wrong when thresholds are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.calibration.evidence import in_own_past
from vpr_compressed.offline.calibration.evidence import Judged
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.offline.calibration.evidence import recent_ns
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import Route
from vpr_compressed.offline.calibration.evidence import UNCLEAR
from vpr_compressed.offline.calibration.evidence import WRONG

GROUP = 'own site'
#: A recording must come back to so many images to say anything.
FEWEST_REVISITS = 30
#: Precision at which the present curve is believed without positions.
SURE = 0.99
#: A walk is asked again in so many parts, each with its surroundings cut out of the map.
_PARTS = 3
#: Rows beside a right one that go with it when it is cut out, and those that are neither.
_MARGIN = 5
#: Images a sure stretch has at least; images it may jump over.
_STRETCH, _GAP = 12, 3
#: Rows it moves per image, at least over all of it, and at most from image to image.
_SLOWEST, _FASTEST = 0.33, 4.0
#: Images that are compared with other ways at once, and how far of the way from the mean of the
#: others to it the best other one may come.
_COMPARED, _NEAREST = 20, 0.65
#: A stretch is followed on by so many images at most, and never by more than its own length.
_FOLLOWED = 15
#: Right within so many rows of the way, wrong beyond so many.
_NEAR, _FAR = 2, 6
#: Standard deviations above the background at which images fit, and below which they do not.
_ALIKE, _UNLIKE = 2.0, 1.0
#: Images on each side by which stretches are compared.
_WINDOW = 2


@dataclass(frozen=True, kw_only=True)
class Recording:
    """
    A recording that was described.

    :param positions_m: ``(N, 3)``, None where it has none
    """

    name: str
    route: Route
    positions_m: NDArray[np.float64] | None = None


def between(
    reference: Recording, query: Recording, truth: GroundTruth
) -> list[LabelledWalk]:
    """Return the walks that two recordings with right answers give."""
    labels = np.where(truth.matrix(), np.int8(RIGHT), np.int8(WRONG)).astype(np.int8)
    for number, rows in enumerate(truth.junk):
        labels[number, sorted(rows)] = UNCLEAR
    walk = LabelledWalk(
        name=query.name, group=GROUP, mapped=(reference.route,), asked=query.route,
        labels=labels, counted=np.ones(len(labels), bool))
    return [walk, *_cut(walk)]


def unknown(mapped: Recording, other: Recording) -> LabelledWalk:
    """Return a walk at places that are not in the map."""
    return LabelledWalk(
        name=other.name, group=GROUP, mapped=(mapped.route,), asked=other.route,
        labels=np.full((len(other.route), len(mapped.route)), WRONG, np.int8),
        counted=np.ones(len(other.route), bool))


def with_positions(recording: Recording, radius_m: float) -> list[LabelledWalk]:
    """
    Return the walks of a recording in its own past, judged by its positions.

    Right within the radius, wrong beyond twice as far.

    :raises VprError: no positions, or it does not come back often enough
    """
    positions = recording.positions_m
    if positions is None:
        raise VprError(f'{recording.name} has no positions; name their topic with --pose-topic')
    labels = np.empty((len(positions), len(positions)), np.int8)
    for number, position in enumerate(positions):
        off = np.linalg.norm(positions - position, axis=1)
        labels[number] = np.where(
            off <= radius_m, RIGHT, np.where(off > 2.0 * radius_m, WRONG, UNCLEAR))
    walk = _in_past(recording, labels)
    _check_revisits(recording, int((walk.labels == RIGHT).any(axis=1).sum()), (
        f'within {radius_m:g} m of an earlier place'))
    return [walk, *_cut(walk)]


def by_itself(recording: Recording, judged: Judged, curve: ConfidenceCurve) -> list[LabelledWalk]:
    """
    Return the walks of a recording in its own past, judged by what is beyond doubt in it.

    :param judged: what the decision says on :func:`first_pass` of it
    :param curve: of the model
    :raises VprError: it surely comes back to too few images
    """
    similarity = recording.route.descriptors @ recording.route.descriptors.T
    sure = judged.confidences >= curve.threshold(SURE)
    place = np.arange(len(sure), dtype=np.float64)
    revisits = np.zeros(len(sure), bool)
    for stretch in _stretches(judged.rows, sure):
        if _stands_out(similarity, stretch, judged.rows, place, recording.route.stamps_ns):
            for image, row in _followed(similarity, stretch, judged.rows, revisits):
                place[image] = np.interp(row, np.arange(image), place[:image])
                revisits[image] = True
    _check_revisits(recording, int(revisits.sum()), 'beyond doubt at an earlier place')
    labels = np.where(_unlike(similarity), np.int8(WRONG), np.int8(UNCLEAR))
    for number in np.flatnonzero(revisits):
        off = np.abs(place - place[number])
        labels[number] = np.where(off <= _NEAR, RIGHT, np.where(off > _FAR, WRONG, UNCLEAR))
    walk = replace(_in_past(recording, labels.astype(np.int8)), doubtful=True)
    return [walk, *_cut(walk)]


def first_pass(recording: Recording) -> LabelledWalk:
    """Return a recording in its own past of which nothing is known."""
    size = len(recording.route)
    return _in_past(recording, np.full((size, size), UNCLEAR, np.int8))


def _in_past(recording: Recording, labels: NDArray[np.int8]) -> LabelledWalk:
    """Return a recording in its own past."""
    return LabelledWalk(
        name=recording.name, group=GROUP, mapped=(), asked=recording.route,
        labels=in_own_past(labels, recording.route.stamps_ns),
        counted=np.ones(len(labels), bool))


def _check_revisits(recording: Recording, found: int, how: str) -> None:
    """Refuse a recording that does not come back."""
    if found < FEWEST_REVISITS:
        raise VprError(
            f'{recording.name} comes back to {found} of its {len(recording.route)} images ({how}, '
            f'and longer ago than what a robot leaves out), needed are {FEWEST_REVISITS}; record '
            'a walk that goes the same way twice, give poses (--pose-topic, --radius-m), or give '
            'two recordings with --reference and --query')


def _cut(walk: LabelledWalk) -> Iterator[LabelledWalk]:
    """Yield a walk again in parts whose places are not in the map."""
    has_place = np.flatnonzero((walk.labels == RIGHT).any(axis=1))
    for part in np.array_split(has_place, _PARTS):
        if not part.size:
            continue
        gone = np.zeros(walk.labels.shape[1], bool)
        for row in np.flatnonzero((walk.labels[part] != WRONG).any(axis=0)):
            gone[max(0, row - _MARGIN):row + _MARGIN + 1] = True
        counted = np.isin(np.arange(len(walk.asked)), part)
        if walk.mapped:
            (route,) = walk.mapped
            if (~gone).sum() < 2:
                continue
            stamps_ns = np.array(route.stamps_ns)[~gone]
            kept = Route(route.descriptors[~gone], tuple(stamps_ns.tolist()))
            yield replace(walk, name=f'{walk.name}, places cut out', mapped=(kept,),
                          labels=walk.labels[:, ~gone], counted=counted)
        else:
            left_out = frozenset(np.flatnonzero(gone).tolist())
            yield replace(
                walk, name=f'{walk.name}, places cut out', left_out=left_out, counted=counted,
                labels=in_own_past(walk.labels, walk.asked.stamps_ns, left_out))


def _followed(
    similarity: NDArray[np.float32], stretch: NDArray[np.int64], rows: NDArray[np.int64],
    taken: NDArray[np.bool_]
) -> list[tuple[int, float]]:
    """Return the images of a stretch and of the way on to both sides, with their rows."""
    # Between sure images the robot did not jump.
    inside = np.arange(stretch[0], stretch[-1] + 1)
    way = dict(zip(inside.tolist(), np.interp(inside, stretch, rows[stretch]).tolist()))
    speed = (rows[stretch[-1]] - rows[stretch[0]]) / (stretch[-1] - stretch[0])
    for end, step in ((int(stretch[0]), -1), (int(stretch[-1]), 1)):
        for ahead in range(1, min(_FOLLOWED, len(stretch)) + 1):
            number, row = end + step * ahead, float(rows[end] + speed * step * ahead)
            if not 0 <= number < len(rows) or taken[number] or not _fits(
                    similarity[number], number, row):
                break
            way[number] = row
    return sorted(way.items())


def _stands_out(
    similarity: NDArray[np.float32], stretch: NDArray[np.int64], rows: NDArray[np.int64],
    place: NDArray[np.float64], stamps_ns: Sequence[int]
) -> bool:
    """
    Tell whether no other way through the past looks nearly as much like a stretch.

    Other ways have the same speed, either direction, and lead past other places.

    :param place: of each image, in images of the first time there
    """
    parts = np.array_split(stretch, max(1, len(stretch) // _COMPARED))
    passed = 0
    for part in parts:
        past = int(np.searchsorted(stamps_ns, stamps_ns[part[0]] - recent_ns()))
        way = rows[part]
        steps = way - way.min()
        others = [
            float(similarity[part, start + turned].mean())
            for turned in (steps, steps.max() - steps) for start in range(past - steps.max())
            if np.abs(place[start + turned] - place[way]).min() > _FAR]
        if len(others) >= _STRETCH:
            mean, score = float(np.mean(others)), float(similarity[part, way].mean())
            passed += max(others) - mean <= _NEAREST * (score - mean)
    return 2 * passed > len(parts)


def _stretches(
    rows: NDArray[np.int64], sure: NDArray[np.bool_]
) -> Iterator[NDArray[np.int64]]:
    """Yield runs of sure images that move along the walk, long enough to mean something."""
    run: list[int] = []
    for number in [*np.flatnonzero(sure).tolist(), len(rows) + _GAP + 1]:
        goes_on = run and number - run[-1] <= _GAP and (
            abs(int(rows[number]) - int(rows[run[-1]])) <= _FASTEST * (number - run[-1]))
        if run and not goes_on:
            if len(run) >= _STRETCH and np.ptp(rows[run]) >= _SLOWEST * (run[-1] - run[0]):
                yield np.array(run)
            run = []
        run.append(number)


def _fits(similarity: NDArray[np.float32], number: int, row: float) -> bool:
    """Tell whether an image looks like the rows about one, and more so than others."""
    first = round(row) - _NEAR
    near = similarity[max(0, first):max(0, min(round(row) + _NEAR + 1, number - _FAR))]
    others = np.delete(similarity, np.r_[
        max(0, first - _FAR):min(len(similarity), round(row) + _NEAR + _FAR + 1),
        max(0, number - _MARGIN):min(len(similarity), number + _MARGIN + 1)])
    return near.size > 0 and others.size > 0 and float(near.max()) >= (
        float(others.mean()) + _ALIKE * float(others.std()))


def _unlike(similarity: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which images do not look alike with their neighbours, walked either way."""
    size = len(similarity)
    along, against = (np.zeros_like(similarity) for _ in range(2))
    steps = range(-_WINDOW, _WINDOW + 1)
    at = np.arange(size)
    for step in steps:
        moved = np.clip(at + step, 0, size - 1)
        along += similarity[np.ix_(moved, moved)]
        against += similarity[np.ix_(moved, np.clip(at - step, 0, size - 1))]
    best = np.maximum(along, against) / len(steps)
    background = similarity.mean(axis=1) + _UNLIKE * similarity.std(axis=1)
    return np.asarray(best <= background[:, np.newaxis])
