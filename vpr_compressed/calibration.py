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

"""What a similarity is worth: the probability that a place is right, fitted on labelled pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import VprError

#: A steeper curve than this only means that the pairs were separable.
MAX_SLOPE = 1000.0


@dataclass(frozen=True, kw_only=True)
class SimilarityCalibration:
    """
    Turn the cosine of two descriptors of one model into a probability.

    ``confidence(s) = 1 / (1 + exp(-slope * (s - offset)))``
    """

    threshold: float = option(
        0.5, 'similarity above which one frame alone is right as often as the model claims',
        minimum=-1.0, maximum=1.0)
    slope: float = option(
        20.0, 'steepness of the confidence curve per unit of similarity',
        minimum=0.0, maximum=MAX_SLOPE)
    offset: float = option(
        0.5, 'similarity with confidence one half', minimum=-10.0, maximum=10.0)

    def __post_init__(self) -> None:
        """Refuse values that are not numbers or out of range."""
        for name, value in asdict(self).items():
            if not math.isfinite(value):
                raise ConfigError(f'calibration {name} is {value}, it must be a finite number')
        if not -1.0 <= self.threshold <= 1.0 or not 0.0 <= self.slope <= MAX_SLOPE:
            raise ConfigError(
                f'calibration needs a threshold in [-1, 1] and a slope in [0, {MAX_SLOPE:g}], '
                f'got {self.threshold} and {self.slope}')

    def confidence(self, similarity: float) -> float:
        """Return the probability in [0, 1] that a place of this similarity is right."""
        logit = self.slope * (similarity - self.offset)
        if logit < 0.0:  # exp of a large positive number would overflow
            return math.exp(logit) / (1.0 + math.exp(logit))
        return 1.0 / (1.0 + math.exp(-logit))

    def to_json(self) -> dict[str, float]:
        """Return the values for a file header."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> SimilarityCalibration:
        """
        Build from a file header.

        :raises ConfigError: for unknown keys, wrong types and values out of range
        """
        return config_from_mapping(cls, values)


def fit_calibration(
    similarities: NDArray[np.floating], correct: NDArray[np.bool_], *, precision: float = 0.99
) -> SimilarityCalibration:
    """
    Fit curve and threshold on the best candidates of labelled queries.

    :param similarities: cosine of each pair, ``(N,)``
    :param correct: whether the pair shows the same place, ``(N,)``
    :param precision: share in (0, 1] of right pairs wanted above the threshold
    :returns: the calibration; its threshold is the lowest one that reaches ``precision``
    :raises VprError: for values that are not finite, or pairs of one class only
    """
    values = np.asarray(similarities, dtype=np.float64)
    labels = np.asarray(correct, dtype=bool)
    _check_pairs(values, labels, precision)
    slope, offset = _fit_logistic(values, labels)
    return SimilarityCalibration(
        threshold=_threshold(values, labels, precision), slope=slope, offset=offset)


def _check_pairs(
    values: NDArray[np.float64], labels: NDArray[np.bool_], precision: float
) -> None:
    """Raise VprError unless the pairs can be fitted."""
    if values.ndim != 1 or values.shape != labels.shape:
        raise VprError(
            f'calibration needs one label per similarity, got {labels.shape} for {values.shape}')
    if not np.isfinite(values).all():
        raise VprError('calibration got similarities that are not finite; check the descriptors')
    if not 0.0 < precision <= 1.0:
        raise VprError(f'precision is {precision}, it must lie in (0, 1]')
    right = int(labels.sum())
    if right in (0, labels.size):
        raise VprError(
            f'calibration needs right and wrong pairs, got {right} right of {labels.size}; '
            'add queries with and without a true place')


def _fit_logistic(
    values: NDArray[np.float64], labels: NDArray[np.bool_]
) -> tuple[float, float]:
    """
    Return slope and offset of the logistic curve (Platt's targets, damped Newton steps).

    The targets are pulled in from 0 and 1, so separable pairs have a finite answer.
    """
    right, wrong = int(labels.sum()), int((~labels).sum())
    targets = np.where(labels, (right + 1.0) / (right + 2.0), 1.0 / (wrong + 2.0))
    centre, spread = float(values.mean()), max(float(values.std()), 1e-6)
    design = np.stack([(values - centre) / spread, np.ones_like(values)], axis=1)
    weights: NDArray[np.float64] = np.array([0.0, math.log((right + 1.0) / (wrong + 1.0))])
    for _ in range(100):
        step = _newton_step(design, targets, weights)
        weights = weights + step * min(1.0, 1.0 / float(np.abs(step).max() + 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    if weights[0] <= 0.0:
        raise VprError(
            'right pairs are not more similar than wrong ones; check the labels and the model')
    slope = min(float(weights[0]) / spread, MAX_SLOPE)
    offset = centre - float(weights[1]) / slope
    return slope, float(np.clip(offset, -10.0, 10.0))


def _newton_step(
    design: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Newton step of the logistic loss."""
    chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -50.0, 50.0)))
    curvature = (design * (chance * (1.0 - chance))[:, np.newaxis]).T @ design
    step: NDArray[np.float64] = np.linalg.solve(
        curvature + 1e-9 * np.eye(2), design.T @ (targets - chance))
    return step


def _threshold(
    values: NDArray[np.float64], labels: NDArray[np.bool_], precision: float
) -> float:
    """Return the lowest similarity at and above which ``precision`` is reached."""
    order = np.argsort(-values, kind='stable')
    ranked = values[order]
    share = np.cumsum(labels[order]) / np.arange(1, values.size + 1)
    last_of_ties = np.append(ranked[1:] < ranked[:-1], True)
    reached = np.flatnonzero((share >= precision) & last_of_ties)
    if reached.size:
        return float(np.clip(ranked[reached[-1]], -1.0, 1.0))
    # the most similar pair of all is wrong: accept nothing that was seen
    return float(np.clip(np.nextafter(ranked[0], np.inf), -1.0, 1.0))
