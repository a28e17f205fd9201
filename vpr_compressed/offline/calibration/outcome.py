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

"""What a curve is worth on samples: the price of precision, and whether confidences hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.offline.accuracy.decisions import Reliability
from vpr_compressed.offline.accuracy.decisions import reliability
from vpr_compressed.offline.accuracy.metrics import precision_recall_curve
from vpr_compressed.offline.accuracy.metrics import PrecisionRecallCurve
from vpr_compressed.offline.accuracy.uncertainty import Interval
from vpr_compressed.offline.accuracy.uncertainty import wilson
from vpr_compressed.offline.calibration.fit import shows
from vpr_compressed.offline.calibration.samples import effective
from vpr_compressed.offline.calibration.samples import Samples


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


def trade_at(samples: Samples, curve: ConfidenceCurve, wanted: float) -> Trade:
    """Return what a wanted precision costs on the samples."""
    threshold = curve.threshold(wanted)
    accepted = samples.weights * (samples.confidences(curve) >= threshold)
    right, total = float(accepted @ samples.right), float(accepted.sum())
    precision = right / total if total else None
    images, has_place = int(effective(accepted)), float(samples.weights @ samples.answerable)
    interval = None if precision is None or not images else wilson(
        round(precision * images), images)
    return Trade(
        wanted=wanted, threshold=threshold, precision=precision, interval=interval,
        recall=right / has_place if has_place else 0.0,
        shown=precision is not None and interval is not None and bool(
            shows(wanted, np.array(precision), np.array(interval.low))))


def trades(samples: Samples, curve: ConfidenceCurve) -> list[Trade]:
    """Return what each stored precision costs on the samples."""
    return [trade_at(samples, curve, wanted) for wanted in curve.precisions]


def reliability_of(samples: Samples, sure: NDArray[np.float64]) -> Reliability:
    """
    Return whether confidences hold, every image with its weight; unclear ones are left out.

    :param sure: confidence of every sample, ``(N,)``
    """
    clear = samples.of(samples.clear)
    return reliability(sure[samples.clear], clear.right, weights=clear.weights)


def precision_recall_of(samples: Samples, curve: ConfidenceCurve) -> PrecisionRecallCurve:
    """Return precision over recall of reporting from some confidence on, as weighted."""
    has_place = max(float(samples.weights @ samples.answerable), 1e-12)
    return precision_recall_curve(
        samples.confidences(curve), samples.right, has_place, samples.weights)
