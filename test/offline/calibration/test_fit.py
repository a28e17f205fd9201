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

"""The curve and its thresholds: on evidence whose truth is known, and by brute force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.offline.accuracy.uncertainty import wilson
from vpr_compressed.offline.calibration import fit
from vpr_compressed.offline.calibration.evidence import Judged
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import Route
from vpr_compressed.offline.calibration.evidence import UNCLEAR
from vpr_compressed.offline.calibration.evidence import WRONG
from vpr_compressed.offline.calibration.outcome import precision_recall_of
from vpr_compressed.offline.calibration.outcome import reliability_of
from vpr_compressed.offline.calibration.outcome import trades
from vpr_compressed.offline.calibration.samples import ALIKE
from vpr_compressed.offline.calibration.samples import missing
from vpr_compressed.offline.calibration.samples import Samples
from vpr_compressed.offline.calibration.samples import samples_of

TRUE = ConfidenceCurve(
    evidence=('belief', 'agreement'), weights=(1.2, 2.0), intercept=-1.5,
    precisions=fit.PRECISIONS, thresholds=(0.85, 0.9, 0.95, 0.97))
START = replace(TRUE, weights=(0.7, 0.5), intercept=0.5)


def judged(
    evidence: Sequence[dict[str, float]], labels: Sequence[int], *, group: str = 'a',
    unknown: bool = False, **walk: Any
) -> Judged:
    """Return decisions as they would be noted on a walk."""
    size = len(labels)
    route = Route(np.zeros((size, 2), np.float32), tuple(range(size)))
    return Judged(
        walk=LabelledWalk(
            name='walk', group=group, mapped=(route,), asked=route, counted=np.ones(size, bool),
            labels=np.zeros((size, size), np.int8), **walk),
        evidence=tuple(evidence), bases=('walk',) * size, rows=np.zeros(size, np.int64),
        confidences=np.zeros(size),
        labels=np.array(labels, np.int8), answerable=np.full(size, not unknown),
        unknown=np.full(size, unknown))


def drawn(
    rng: np.random.Generator, count: int, *, curve: ConfidenceCurve = TRUE, group: str = 'a',
    unknown: bool = False
) -> Judged:
    """Return decisions that are right as a curve says; those that are unknown know little."""
    most = 0 if unknown else 6
    values = np.column_stack([rng.uniform(-4, most, count), rng.uniform(0, 1, count)])
    evidence = [dict(zip(curve.evidence, row)) for row in values.tolist()]
    chance = np.array([curve.confidence(each) for each in evidence])
    right = (rng.uniform(size=count) < chance) & (not unknown)
    labels = np.where(right, RIGHT, WRONG).tolist()
    return judged(evidence, labels, group=group, unknown=unknown)


def samples(*walks: Judged) -> Samples:
    """Return the samples of walks."""
    found = samples_of(walks, 'walk')
    assert found is not None
    return found


def by_name(curve: ConfidenceCurve) -> dict[str, float]:
    """Return the weights of a curve."""
    return dict(zip(curve.evidence, curve.weights))


def test_the_curve_the_labels_were_drawn_from_comes_back(rng: np.random.Generator) -> None:
    """With many images, wherever the fit started."""
    found = fit.fit_curve(samples(drawn(rng, 60_000)), START)
    assert by_name(found) == pytest.approx(by_name(TRUE), rel=0.06)
    assert found.intercept == pytest.approx(TRUE.intercept, abs=0.1)


def test_little_data_moves_the_curve_only_a_little(rng: np.random.Generator) -> None:
    """The more images, the further it goes; a stronger earlier curve holds it back."""
    def moved(count: int, **options: float) -> float:
        found = fit.fit_curve(samples(drawn(np.random.default_rng(1), count)), START, **options)
        return abs(found.intercept - START.intercept)

    distance = abs(TRUE.intercept - START.intercept)
    assert moved(50) < 0.25 * distance < 0.75 * distance < moved(30_000)
    assert moved(500, prior_images=5_000.0) < moved(500)


def test_evidence_never_counts_against_what_it_stands_for(rng: np.random.Generator) -> None:
    """A misleading piece gets no weight; one that counts against a place in the start keeps it."""
    turned = replace(TRUE, weights=(1.2, -3.0))
    walk = samples(drawn(rng, 20_000, curve=turned))
    assert by_name(fit.fit_curve(walk, START))['agreement'] == 0.0
    start = replace(START, weights=(0.7, -0.5))
    assert by_name(fit.fit_curve(walk, start))['agreement'] == pytest.approx(-3.0, rel=0.2)


def test_every_group_counts_alike_and_unknown_places_half(rng: np.random.Generator) -> None:
    """However many images they have."""
    found = samples(
        drawn(rng, 500, group='large'), drawn(rng, 100, group='large', unknown=True),
        drawn(rng, 40, group='small'))
    groups, unknown = np.array(found.groups), found.unknown
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.weights[groups == 'large'].sum() == pytest.approx(0.5)
    assert found.weights[(groups == 'large') & unknown].sum() == pytest.approx(0.25)
    assert found.weights[groups == 'small'].sum() == pytest.approx(0.5)


def test_copies_of_one_group_do_not_outvote_another(rng: np.random.Generator) -> None:
    """The curve is that of both, not that of the larger."""
    other = replace(TRUE, intercept=1.5)
    one, two = drawn(rng, 4000, group='one'), drawn(rng, 4000, curve=other, group='two')
    balanced = fit.fit_curve(samples(one, two), START)
    outvoted = fit.fit_curve(samples(*[one] * 8, two), START)
    assert outvoted.intercept == pytest.approx(balanced.intercept, abs=0.1)


@pytest.mark.parametrize('share_unknown', [0.0, 0.5])
def test_thresholds_are_the_lowest_that_show_the_precision(
    rng: np.random.Generator, share_unknown: float
) -> None:
    """Brute force over all confidences; by chance at worst twice as many are wrong."""
    count = 6000
    found = samples(drawn(rng, count), *(
        [drawn(rng, int(share_unknown * count), unknown=True)] if share_unknown else []))
    curve = fit.fit_curve(found, START)
    sure = found.confidences(curve)

    def shows(threshold: float, wanted: float) -> bool:
        chosen = found.weights * (sure >= threshold)
        images = int(chosen.sum() ** 2 / (chosen ** 2).sum() / ALIKE)
        share = float(chosen @ found.right) / float(chosen.sum())
        low = wilson(round(share * images), images).low if images else 0.0
        return share >= wanted and 1.0 - low <= 2.0 * (1.0 - wanted)

    candidates = np.unique(sure)[::37]
    for wanted, threshold in zip(curve.precisions, curve.thresholds):
        reached = [each for each in candidates if shows(each, wanted)]
        if reached:
            assert shows(threshold, wanted)
            assert threshold <= min(reached)
    assert list(curve.thresholds) == sorted(curve.thresholds)


def test_too_few_images_to_show_a_precision_keep_the_threshold() -> None:
    """All right, but 40 images cannot show 99 %."""
    evidence = [{'belief': 5.0, 'agreement': 1.0}] * 40 + [{'belief': -4.0, 'agreement': 0.0}] * 40
    found = samples(judged(evidence, [RIGHT] * 40 + [WRONG] * 40))
    curve = fit.fit_curve(found, START)
    assert curve.threshold(0.99) == START.threshold(0.99)
    trade = trades(found, curve)[-1]
    assert (trade.precision, trade.shown) == (1.0, False)


def test_a_threshold_that_was_not_enough_is_raised() -> None:
    """The surest images are wrong as often as others: nothing that was seen is accepted."""
    evidence = [{'belief': 6.0, 'agreement': 1.0}] * 200
    found = samples(judged(evidence, [RIGHT, WRONG] * 100))
    start = replace(START, thresholds=(0.5,) * 4)
    curve = fit.fit_curve(found, start)
    assert curve.confidence(evidence[0]) > 0.5
    trade = trades(found, curve)[0]
    assert trade.precision is None
    assert trade.recall == 0.0


def test_what_is_in_doubt_counts_against_thresholds_but_not_in_the_curve(
    rng: np.random.Generator
) -> None:
    """A guess must not make a robot bolder."""
    sure = [{'belief': 6.0, 'agreement': 1.0}] * 300
    clear = drawn(rng, 3000)
    guessed = judged(sure, [UNCLEAR] * 300, doubtful=True)
    without = fit.fit_curve(samples(clear), START)
    with_doubt = fit.fit_curve(samples(clear, guessed), START)
    assert with_doubt.confidence(sure[0]) == pytest.approx(without.confidence(sure[0]), abs=0.02)
    assert with_doubt.threshold(0.95) > without.threshold(0.95)
    assert samples_of([judged(sure, [UNCLEAR] * 300)], 'walk') is None


def test_only_evidence_that_every_decision_has_is_used() -> None:
    """What the curve of the model needs must be there."""
    walk = judged([{'belief': 1.0, 'rare': 2.0}, {}, {'belief': 0.0}], [RIGHT, WRONG, WRONG])
    assert samples(walk).names == ('belief',)
    assert len(samples(walk)) == 2
    with pytest.raises(VprError, match='gives no agreement'):
        samples_of([walk], 'walk', ('belief', 'agreement'))


def test_a_curve_is_fitted_to_the_decisions_that_used_it(rng: np.random.Generator) -> None:
    """Whether a map is a sequence the decision finds out, on each."""
    walk = drawn(rng, 30)
    mixed = replace(walk, bases=('walk',) * 10 + ('single',) * 15 + ('',) * 5)
    sizes = [len(samples_of([mixed], basis) or ()) for basis in ('walk', 'single', 'other')]
    assert sizes == [10, 15, 0]


def test_trades_count_rightly_reported_places(rng: np.random.Generator) -> None:
    """Precision over what is reported, recall over what the map has, both weighted."""
    found = samples(drawn(rng, 2000, group='a'), drawn(rng, 200, group='b'),
                    drawn(rng, 300, group='b', unknown=True))
    curve = fit.fit_curve(found, START)
    sure = found.confidences(curve)
    for trade in trades(found, curve):
        chosen = found.weights * (sure >= trade.threshold)
        assert trade.precision == pytest.approx(chosen @ found.right / chosen.sum())
        assert trade.recall == pytest.approx(
            chosen @ found.right / (found.weights @ found.answerable))
        assert trade.interval is not None
        assert trade.interval.low <= trade.precision <= trade.interval.high


def test_a_group_is_judged_by_fits_that_have_not_seen_it(rng: np.random.Generator) -> None:
    """The odd one out is badly foretold by the others; two groups are too few."""
    odd = replace(TRUE, intercept=-6.0)
    walks = [drawn(rng, 2000, group='a'), drawn(rng, 2000, group='b'),
             drawn(rng, 2000, group='c', curve=odd)]
    found = samples(*walks)
    held_out = fit.held_out(found, START)
    assert held_out is not None

    def error(sure: NDArray[np.float64]) -> float:
        here = np.array(found.groups) == 'c'
        return float(np.abs(sure[here].mean() - found.right[here].mean()))

    assert error(held_out) > 1.2 * error(found.confidences(fit.fit_curve(found, START)))
    assert fit.held_out(samples(*walks[:2]), START) is None


def test_confidences_of_the_true_curve_hold(rng: np.random.Generator) -> None:
    """The calibration error is small, and large for a curve that brags."""
    found = samples(drawn(rng, 20_000))
    true = reliability_of(found, found.confidences(TRUE))
    bragging = reliability_of(found, found.confidences(replace(TRUE, intercept=3.0)))
    assert true.images == len(found)
    assert true.error is not None
    assert bragging.error is not None
    assert true.error < 0.02
    assert bragging.error > 0.1


def test_precision_over_recall_is_that_of_the_trades(rng: np.random.Generator) -> None:
    """The same numbers at the same thresholds; recall never falls."""
    found = samples(drawn(rng, 3000), drawn(rng, 1000, unknown=True))
    curve = fit.fit_curve(found, START)
    line = precision_recall_of(found, curve)
    assert (np.diff(line.recall) >= 0).all()
    for trade in trades(found, curve):
        at = int((line.thresholds >= trade.threshold).sum()) - 1
        assert line.precision[at] == pytest.approx(trade.precision)
        assert line.recall[at] == pytest.approx(trade.recall)


@pytest.mark.parametrize(('right', 'wrong', 'unknown', 'lacking'), [
    (29, 60, 20, ['29 images whose believed place is right']),
    (30, 10, 19, ['29 images whose believed place is wrong',
                  '19 images of places that are not in the map']),
    (30, 10, 20, [])])
def test_what_is_too_little_is_said(
    right: int, wrong: int, unknown: int, lacking: list[str]
) -> None:
    """With what was found, what is needed and what to add."""
    def walk(count: int, label: int, *, unknown: bool = False) -> Judged:
        return judged([{'belief': 0.0}] * count, [label] * count, unknown=unknown)

    found = missing(samples(
        walk(right, RIGHT), walk(wrong, WRONG), walk(unknown, WRONG, unknown=True)))
    assert [text.partition(' (needed')[0] for text in found] == lacking
    assert all(text.endswith(')') for text in found)


def test_no_image_at_all_is_too_little() -> None:
    """Of everything."""
    assert len(missing(None)) == 3
