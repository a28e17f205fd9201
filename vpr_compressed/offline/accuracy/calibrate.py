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


"""How similarities of a model turn into decisions: fitted to labels, or carried over without."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.spec import MAX_SLOPE
from vpr_compressed.model_file.spec import SimilarityCalibration
from vpr_compressed.offline.accuracy.metrics import precision_recall_curve
from vpr_compressed.records import DescriptorArray

#: Fewer images say nothing about how similarities moved.
_FEWEST = 10


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
    slope, offset = _fit_logistic(values, labels)
    curve = precision_recall_curve(values, labels, right)
    reached = curve.thresholds[curve.precision >= precision]
    # If the most similar pair of all is wrong: accept nothing that was seen.
    lowest = reached[-1] if reached.size else np.nextafter(values.max(), np.inf)
    return SimilarityCalibration(
        threshold=float(np.clip(lowest, -1.0, 1.0)), slope=slope, offset=offset)


def follow(
    calibration: SimilarityCalibration, parent: DescriptorArray, student: DescriptorArray
) -> SimilarityCalibration:
    """
    Carry a calibration over to a student whose similarities are spread differently.

    A line is fitted through the similarities of all pairs of images as the two networks see
    them, ``s_student = a s_parent + b``; threshold and confidence are moved along it.

    :param parent: descriptors of N images, ``(N, D)``, unit norm
    :param student: the same images, ``(N, D')``, unit norm
    :returns: the calibration as it was if there are too few images, or no line is to be seen
    """
    if len(parent) < _FEWEST or len(parent) != len(student):
        return calibration
    above = np.triu_indices(len(parent), 1)
    before, after = (parent @ parent.T)[above], (student @ student.T)[above]
    spread = float(before.var())
    if spread <= 0.0:
        return calibration
    gain = float(((before - before.mean()) * (after - after.mean())).mean()) / spread
    if not 0.2 < gain < 5.0:
        return calibration
    shift = float(after.mean() - gain * before.mean())
    return SimilarityCalibration(
        threshold=float(np.clip(gain * calibration.threshold + shift, -1.0, 1.0)),
        slope=min(MAX_SLOPE, calibration.slope / gain),
        offset=float(np.clip(gain * calibration.offset + shift, -10.0, 10.0)))


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
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -50.0, 50.0)))
        curvature = (design * (chance * (1.0 - chance))[:, np.newaxis]).T @ design
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), design.T @ (targets - chance))
        weights = weights + step * min(1.0, 1.0 / float(np.abs(step).max() + 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    if weights[0] <= 0.0:
        raise VprError(
            'right pairs are not more similar than wrong ones; check the labels and the model')
    slope = min(float(weights[0]) / spread, MAX_SLOPE)
    offset = centre - float(weights[1]) / slope
    return slope, float(np.clip(offset, -10.0, 10.0))
