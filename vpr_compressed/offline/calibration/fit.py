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
Fit how evidence becomes a probability, and how sure a place must be for a wanted precision.

Every kind of place counts alike, whatever the number of its images; within one, images whose
place is in the map and images whose place is not count half each where there are both.

The curve is logistic regression (Cox 1958) with two demands that scikit-learn's does not know:
evidence never counts against what it stands for, and the fit is drawn towards an earlier curve as
if that rested on :data:`PRIOR_IMAGES` images, so that little data moves it only a little. It is
a convex problem with bounds, one call of SciPy.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.offline.accuracy.decisions import BINS
from vpr_compressed.offline.accuracy.decisions import Reliability
from vpr_compressed.offline.accuracy.decisions import ReliabilityBin
from vpr_compressed.offline.accuracy.metrics import PrecisionRecallCurve
from vpr_compressed.offline.accuracy.uncertainty import Interval
from vpr_compressed.offline.accuracy.uncertainty import wilson
from vpr_compressed.offline.calibration.evidence import Judged
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import UNCLEAR

#: Wanted precisions for which thresholds are stored.
PRECISIONS = (0.9, 0.95, 0.98, 0.99)
#: Images of a walk resemble their neighbours: so many tell as much as one alone.
ALIKE = 5
#: What the earlier curve counts, in images that tell something of their own.
PRIOR_IMAGES = 50.0
#: A curve is fitted to no fewer images, right ones, and wrong ones.
FEWEST_RIGHT, FEWEST_WRONG, FEWEST_UNKNOWN = 30, 30, 20
#: Where a precision counts as shown, chance may hide so many times the errors that are wanted.
_SLACK = 2.0
#: A threshold is no surer than this, so that certainty can reach it.
_SUREST = 0.9999


@dataclass(frozen=True, kw_only=True)
class Samples:
    """
    Decisions of many walks, N in all.

    :param names: of the evidence, E
    :param values: evidence, float64 ``(N, E)``
    :param right: whether the believed place is right, bool ``(N,)``
    :param clear: whether that is sure; the others only count, as wrong, for the thresholds
    :param answerable: whether the map has the place, bool ``(N,)``
    :param unknown: whether the map surely lacks it, bool ``(N,)``
    :param weights: of each, summing to 1 over all groups
    :param groups: kind of place of each, length N
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    right: NDArray[np.bool_]
    clear: NDArray[np.bool_]
    answerable: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    weights: NDArray[np.float64]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def of(self, chosen: NDArray[np.bool_]) -> Samples:
        """Return some of them, weighted anew."""
        groups = tuple(group for group, here in zip(self.groups, chosen) if here)
        found = replace(
            self, groups=groups, **{name: getattr(self, name)[chosen] for name in (
                'values', 'right', 'clear', 'answerable', 'unknown', 'weights')})
        return replace(found, weights=balanced(found.groups, found.unknown))

    def confidences(self, curve: ConfidenceCurve) -> NDArray[np.float64]:
        """Return what a curve makes of the evidence, ``(N,)``."""
        return np.array([
            curve.confidence(dict(zip(self.names, row))) for row in self.values.tolist()])


@dataclass(frozen=True, kw_only=True)
class Trade:
    """
    What a wanted precision costs.

    :param threshold: least confidence of a reported place
    :param precision: share of the reported places that were right; None for none reported
    :param interval: of it, Wilson 95 %
    :param recall: share of the places that the map has which were rightly reported
    :param shown: whether the images are enough to show the wanted precision
    """

    wanted: float
    threshold: float
    precision: float | None
    interval: Interval | None
    recall: float
    shown: bool


def samples_of(judged: Iterable[Judged], names: Sequence[str] = ()) -> Samples | None:
    """
    Put the decisions of walks together; images without evidence or label are left out.

    :param names: evidence a curve must have, besides what every decision has
    :returns: None without any image
    :raises VprError: a decision lacks evidence of ``names``
    """
    rows: list[tuple[Mapping[str, float], bool, bool, bool, bool, str]] = []
    for each in judged:
        for number, evidence in enumerate(each.evidence):
            label = int(each.labels[number])
            if evidence and each.walk.counted[number] and (
                    label != UNCLEAR or each.walk.doubtful):
                rows.append((
                    evidence, label == RIGHT, label != UNCLEAR, bool(each.answerable[number]),
                    bool(each.unknown[number]), each.walk.group))
    if not rows:
        return None
    found, right, clear, answerable, unknown, groups = zip(*rows)
    common = set.intersection(*(set(evidence) for evidence in found))
    if missing := set(names) - common:
        raise VprError(
            f'the decision gives no {", ".join(sorted(missing))}, which the curve of the model '
            f'needs (it gives {", ".join(sorted(common))}); the model was calibrated by another '
            'version: start from the packaged one')
    order = (*names, *sorted(common - set(names)))
    return Samples(
        names=order, values=np.array([[e[name] for name in order] for e in found], np.float64),
        right=np.array(right), clear=np.array(clear), answerable=np.array(answerable),
        unknown=np.array(unknown), groups=groups, weights=balanced(groups, np.array(unknown)))


def balanced(groups: Sequence[str], unknown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights that sum to 1: every group alike, known and unknown images half each."""
    names = np.array(groups)
    weights = np.zeros(len(names))
    kinds = sorted(set(groups))
    for group in kinds:
        parts = [part for part in ((names == group) & unknown, (names == group) & ~unknown)
                 if part.any()]
        for part in parts:
            weights[part] = 1.0 / (len(kinds) * len(parts) * int(part.sum()))
    return weights


def effective(weights: NDArray[np.float64]) -> float:
    """Return how many independent images tell as much (Kish 1965, and :data:`ALIKE`)."""
    square = float((weights ** 2).sum())
    return float(weights.sum()) ** 2 / square / ALIKE if square > 0.0 else 0.0


def fit_curve(
    samples: Samples, start: ConfidenceCurve, *, prior_images: float = PRIOR_IMAGES
) -> ConfidenceCurve:
    """
    Fit curve and thresholds.

    :param start: the curve the fit is drawn to; its signs are kept, and evidence it does not
        know may only count for a place
    :param prior_images: what ``start`` counts
    """
    weights, intercept = _logistic(samples.of(samples.clear), start, prior_images)
    curve = ConfidenceCurve(
        evidence=samples.names, weights=tuple(weights.tolist()), intercept=intercept,
        precisions=PRECISIONS, thresholds=tuple(start.threshold(p) for p in PRECISIONS))
    return replace(curve, thresholds=_thresholds(samples, curve, start))


def _logistic(
    samples: Samples, start: ConfidenceCurve, prior_images: float
) -> tuple[NDArray[np.float64], float]:
    """Return weights ``(E,)`` and intercept."""
    from scipy.optimize import minimize

    known = dict(zip(start.evidence, start.weights))
    before = np.array([known.get(name, 0.0) for name in samples.names])
    share = samples.weights * effective(samples.weights)
    centre = samples.weights @ samples.values
    spread = np.sqrt(samples.weights @ (samples.values - centre) ** 2)
    spread = np.where(spread > 1e-9, spread, 1.0)
    design = np.column_stack([(samples.values - centre) / spread, np.ones(len(samples))])
    origin = np.append(before * spread, start.intercept + before @ centre)
    sign = np.where(samples.right, 1.0, -1.0)
    # An image tells at most a quarter of its square: p (1 - p) at one half.
    pull = prior_images / 4.0

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin, moved = sign * (design @ parameters), parameters - origin
        wrong = share * sign / (1.0 + np.exp(np.clip(margin, -500.0, 500.0)))
        return (float(share @ np.logaddexp(0.0, -margin) + 0.5 * pull * moved @ moved),
                pull * moved - design.T @ wrong)

    bounds = [(None, 0.0) if weight < 0.0 else (0.0, None) for weight in before]
    found = minimize(loss, origin, jac=True, method='L-BFGS-B', bounds=[*bounds, (None, None)])
    if not np.isfinite(found.x).all():
        raise VprError(f'the curve cannot be fitted ({found.message}); check the labels')
    weights = found.x[:-1] / spread
    return np.asarray(weights), float(found.x[-1] - weights @ centre)


def _thresholds(
    samples: Samples, curve: ConfidenceCurve, start: ConfidenceCurve
) -> tuple[float, ...]:
    """
    Return the least confidence for each of :data:`PRECISIONS`, never falling.

    It is the lowest one above which the images show the precision (:func:`_shows`). Where there
    are too few to show it, it is what ``start`` asks for, or more where that was not enough here.
    """
    order = np.argsort(-samples.confidences(curve), kind='stable')
    sure = samples.confidences(curve)[order]
    weights = samples.weights[order]
    accepted = np.cumsum(weights)
    precision = np.cumsum(weights * samples.right[order]) / accepted
    enough = accepted ** 2 / np.cumsum(weights ** 2) / ALIKE
    low = np.array([_lower_end(p, n) for p, n in zip(precision, enough)])
    last = np.append(sure[1:] < sure[:-1], True)  # of equal confidences all are accepted
    found: list[float] = []
    for wanted in PRECISIONS:
        shown = sure[last & _shows(wanted, precision, low)]
        threshold = float(shown[-1]) if shown.size else _kept(
            sure[last], precision[last], wanted, start.threshold(wanted))
        found.append(min(_SUREST, max([threshold, *found[-1:]])))
    return tuple(found)


def _shows(
    wanted: float, precision: NDArray[np.float64], low: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """
    Return where as many were right as wanted, and at worst twice as many wrong by chance.

    :param low: lower end of the interval of the precision
    """
    return np.asarray((precision >= wanted) & (low >= 1.0 - _SLACK * (1.0 - wanted)))


def _kept(
    sure: NDArray[np.float64], precision: NDArray[np.float64], wanted: float, threshold: float
) -> float:
    """Return a threshold, or the next one above it that was as precise, however few images."""
    accepted = sure >= threshold
    if not accepted.any() or precision[accepted][-1] >= wanted:
        return threshold
    reached = sure[accepted & (precision >= wanted)]
    return float(reached[-1]) if reached.size else (1.0 + float(sure[0])) / 2


def _lower_end(share: float, images: float) -> float:
    """Return the lower end of the interval of a share of so many independent images."""
    total = int(images)
    return wilson(round(share * total), total).low if total else 0.0


def trades(samples: Samples, curve: ConfidenceCurve) -> list[Trade]:
    """Return what each stored precision costs on the samples."""
    sure = samples.confidences(curve)
    has_place = float(samples.weights @ samples.answerable)
    found = []
    for wanted, threshold in zip(curve.precisions, curve.thresholds):
        accepted = samples.weights * (sure >= threshold)
        right, total = float(accepted @ samples.right), float(accepted.sum())
        images = int(effective(accepted))
        precision = right / total if total else None
        interval = None if precision is None or not images else wilson(
            round(precision * images), images)
        found.append(Trade(
            wanted=wanted, threshold=threshold, precision=precision, interval=interval,
            recall=right / has_place if has_place else 0.0,
            shown=precision is not None and interval is not None and bool(
                _shows(wanted, np.array(precision), np.array(interval.low)))))
    return found


def held_out(samples: Samples, start: ConfidenceCurve) -> NDArray[np.float64] | None:
    """
    Return the confidence of every sample from a curve fitted without its group, ``(N,)``.

    :returns: None for fewer than three groups that can be fitted
    """
    names = np.array(samples.groups)
    kinds = sorted(set(samples.groups))
    if len(kinds) < 3:
        return None
    sure = np.zeros(len(samples))
    for group in kinds:
        here = names == group
        others = samples.of(~here & samples.clear)
        weights, intercept = _logistic(others, start, PRIOR_IMAGES)
        logit = samples.values[here] @ weights + intercept
        sure[here] = 1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0)))
    return sure


def missing(samples: Samples | None) -> list[str]:
    """Return in words what is too little for a fit, empty for nothing."""
    right = wrong = unknown = 0
    if samples is not None:
        right = int((samples.right & samples.clear).sum())
        wrong = int((~samples.right & samples.clear).sum())
        unknown = int((samples.unknown & samples.clear).sum())
    return [f'{found} {what} (needed {needed}: {remedy})' for found, needed, what, remedy in (
        (right, FEWEST_RIGHT, 'images whose believed place is right',
         'walk longer through places that are in the map'),
        (wrong, FEWEST_WRONG, 'images whose believed place is wrong',
         'add walks at places that are not in the map'),
        (unknown, FEWEST_UNKNOWN, 'images of places that are not in the map',
         'add a recording of other places')) if found < needed]


def reliability_of(samples: Samples, sure: NDArray[np.float64]) -> Reliability:
    """
    Return whether confidences hold, every image with its weight; unclear ones are left out.

    :param sure: confidence of every sample, ``(N,)``
    """
    clear = samples.of(samples.clear)
    confidences = sure[samples.clear]
    number = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for each in np.unique(number).tolist():
        share = clear.weights * (number == each)
        total = float(share.sum())
        found = ReliabilityBin(
            each / BINS, (each + 1) / BINS, int((number == each).sum()),
            float(share @ confidences) / total, float(share @ clear.right) / total)
        error += total * abs(found.right - found.confidence)
        bins.append(found)
    return Reliability(tuple(bins), error if bins else None)


def precision_recall_of(samples: Samples, curve: ConfidenceCurve) -> PrecisionRecallCurve:
    """Return precision over recall of reporting from some confidence on, as weighted."""
    sure = samples.confidences(curve)
    order = np.argsort(-sure, kind='stable')
    accepted = np.cumsum(samples.weights[order])
    right = np.cumsum(samples.weights[order] * samples.right[order])
    last = np.append(np.diff(sure[order]) < 0.0, True)
    has_place = max(float(samples.weights @ samples.answerable), 1e-12)
    return PrecisionRecallCurve(
        thresholds=sure[order][last], precision=(right / accepted)[last],
        recall=(right / has_place)[last])
