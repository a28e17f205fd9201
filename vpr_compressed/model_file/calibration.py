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
How the evidence for a place becomes a probability, as stored in the header of a model file.

Plain data. The evidence is relative to the map and to the recent images (``decision``), so a
curve fitted with one model serves another one roughly; the default says where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import math

import numpy as np

from vpr_compressed.config import Bounded
from vpr_compressed.config import option
from vpr_compressed.config import required
from vpr_compressed.errors import ConfigError

#: A logit beyond this only means that the evidence was separable.
_MAX_LOGIT = 30.0


@dataclass(frozen=True, kw_only=True)
class ConfidenceCurve(Bounded):
    """
    Logistic curve over named pieces of evidence, and the threshold for a wanted precision.

    ``confidence = 1 / (1 + exp(-(intercept + sum(weights * evidence))))``

    :raises ConfigError: for lists that do not fit each other, or do not rise
    """

    evidence: tuple[str, ...] = required('names of the pieces of evidence')
    weights: tuple[float, ...] = required('weight of each piece', minimum=-1000.0, maximum=1000.0)
    intercept: float = required('logit where all evidence is 0', minimum=-1000.0, maximum=1000.0)
    precisions: tuple[float, ...] = required(
        'wanted precisions, rising', minimum=0.0, maximum=1.0)
    thresholds: tuple[float, ...] = required(
        'confidence at which the accepted places were that precise, never falling',
        minimum=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.evidence) != len(self.weights) or not self.precisions or (
                len(self.precisions) != len(self.thresholds)):
            raise ConfigError(
                f'a confidence curve needs a weight per piece of evidence and a threshold per '
                f'precision, got {len(self.evidence)} and {len(self.weights)}, '
                f'{len(self.precisions)} and {len(self.thresholds)}')
        if any(np.diff(self.precisions) <= 0) or any(np.diff(self.thresholds) < 0):
            raise ConfigError(
                f'precisions {self.precisions} must rise and thresholds {self.thresholds} must '
                'not fall')

    def confidence(self, evidence: Mapping[str, float], offset: float = 0.0) -> float:
        """
        Return the probability in [0, 1] that the place is right.

        :param evidence: name -> value of each piece, at least
        :param offset: added to the logit
        """
        logit = self.intercept + offset + sum(
            weight * evidence[name] for name, weight in zip(self.evidence, self.weights))
        return 1.0 / (1.0 + math.exp(-min(max(logit, -_MAX_LOGIT), _MAX_LOGIT)))

    def threshold(self, precision: float) -> float:
        """
        Return the confidence a place needs for a wanted precision.

        Between fitted precisions on the line; below them less in proportion, so that every
        setting does something; beyond them towards 1, which nothing reaches.
        """
        if precision < self.precisions[0]:
            return self.thresholds[0] * precision / self.precisions[0]
        if precision > self.precisions[-1]:
            missing = (1.0 - precision) / (1.0 - self.precisions[-1])
            return 1.0 - (1.0 - self.thresholds[-1]) * missing
        return float(np.interp(precision, self.precisions, self.thresholds))


#: What config/recipes/calibration.yaml gave for the default model, with higher thresholds; it
#: serves models that nobody has calibrated.
_WALK = ConfidenceCurve(
    evidence=('belief', 'travel', 'mean_margin', 'mean_gain', 'views', 'progress', 'drop'),
    weights=(0.69, 0.97, 0.77, 8.37, 0.0, 0.8, 11.5), intercept=-1.02,
    precisions=(0.9, 0.95, 0.98, 0.99), thresholds=(0.5, 0.75, 0.92, 0.97))
_SINGLE = ConfidenceCurve(
    evidence=('margin', 'correlation', 'gain'), weights=(0.43, 12.1, 8.44), intercept=-5.72,
    precisions=(0.9, 0.95, 0.98, 0.99), thresholds=(0.925, 0.95, 0.98, 0.99))


@dataclass(frozen=True, kw_only=True)
class DecisionCalibration(Bounded):
    """What the decision needs to know of a model."""

    walk: ConfidenceCurve = field(default=_WALK, metadata={
        'doc': 'for maps that are sequences of images'})
    single: ConfidenceCurve = field(default=_SINGLE, metadata={
        'doc': 'for maps that are none'})
    exploring_logit: float = option(
        -2.0, 'added to the logit of the confidence while the map is being made: most places are '
        'new then', minimum=-20.0, maximum=0.0)
    fitted_on: str = option(
        '', 'walks the curves were fitted on; empty for the cautious default')

    @property
    def origin(self) -> str:
        """Return where the curves come from, in words."""
        return f'fitted on {self.fitted_on}' if self.fitted_on else (
            'the cautious default, not fitted to this model; "vpr_compressed calibrate" fits it')
