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
Decisions of many walks as samples, weighted so that every kind of place counts alike.

Within one kind, images whose place is in the map and images whose place is not count half each
where there are both, whatever their numbers.
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
from vpr_compressed.offline.calibration.evidence import Judged
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import UNCLEAR

#: Images of a walk resemble their neighbours: so many tell as much as one alone.
ALIKE = 5
#: A curve is fitted to no fewer right images, wrong ones, and images without a place in the map.
FEWEST_RIGHT, FEWEST_WRONG, FEWEST_UNKNOWN = 30, 30, 20


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


def samples_of(
    judged: Iterable[Judged], basis: str, names: Sequence[str] = ()
) -> Samples | None:
    """
    Put the decisions of walks together; images without evidence or label are left out.

    :param basis: name of the curve that is fitted; only decisions that used it count
    :param names: evidence a curve must have, besides what every decision has
    :returns: None without any image
    :raises VprError: a decision lacks evidence of ``names``
    """
    rows: list[tuple[Mapping[str, float], bool, bool, bool, bool, str]] = []
    for each in judged:
        for number, evidence in enumerate(each.evidence):
            label = int(each.labels[number])
            if each.bases[number] == basis and evidence and each.walk.counted[number] and (
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
