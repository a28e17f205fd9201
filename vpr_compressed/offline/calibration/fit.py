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

The curve is logistic regression (Cox 1958) with two demands that scikit-learn's does not know:
evidence never counts against what it stands for, and the fit is drawn towards an earlier curve as
if that rested on :data:`PRIOR_IMAGES` images, so that little data moves it only a little. It is
a convex problem with bounds, one call of SciPy.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.offline.accuracy.uncertainty import wilson
from vpr_compressed.offline.calibration.samples import ALIKE
from vpr_compressed.offline.calibration.samples import effective
from vpr_compressed.offline.calibration.samples import Samples

#: Wanted precisions for which thresholds are stored.
PRECISIONS = (0.9, 0.95, 0.98, 0.99)
#: What the earlier curve counts, in images that tell something of their own.
PRIOR_IMAGES = 50.0
#: Where a precision counts as shown, chance may hide so many times the errors that are wanted.
_SLACK = 2.0
#: A threshold is no surer than this, so that certainty can reach it.
_SUREST = 0.9999


def check_scipy() -> None:
    """
    Refuse to begin work that ends with a fit which cannot be made.

    :raises VprError: SciPy is not installed
    """
    if find_spec('scipy') is None:
        raise VprError(
            'the fit is made with SciPy, which is not installed: '
            'pip install "vpr_compressed[scipy]"')


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


def shows(
    wanted: float, precision: NDArray[np.float64], low: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """
    Return where as many were right as wanted, and at worst twice as many wrong by chance.

    :param low: lower end of the interval of the precision
    """
    return np.asarray((precision >= wanted) & (low >= 1.0 - _SLACK * (1.0 - wanted)))


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

    It is the lowest one above which the images show the precision (:func:`shows`). Where there
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
        shown = sure[last & shows(wanted, precision, low)]
        threshold = float(shown[-1]) if shown.size else _kept(
            sure[last], precision[last], wanted, start.threshold(wanted))
        found.append(min(_SUREST, max([threshold, *found[-1:]])))
    return tuple(found)


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
