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
What the decision over a walk was worth: whom it believes, what it accepts, how sure it says it is.

The believed place of an image counts whether it was accepted or not; an image whose place is not
in the map makes every belief wrong. A believed place that is junk (neither right nor wrong) is
left out of precision, curve and reliability.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
import math

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.uncertainty import Interval
from vpr_compressed.offline.accuracy.uncertainty import wilson
from vpr_compressed.records import Status

#: Bins of a reliability diagram, of equal width over [0, 1].
BINS = 10


class Outcome(Enum):
    """What became of one image; the value says it to people."""

    RIGHT = 'right'
    WRONG = 'wrong'
    JUNK = 'accepted, neither right nor wrong'
    WITHHELD = 'withheld'
    UNKNOWN = 'unknown, rightly withheld'

    @property
    def verdict(self) -> str | None:
        """Return ``right``, ``wrong`` or ``junk`` for an accepted place, None for none."""
        withheld = self in (Outcome.WITHHELD, Outcome.UNKNOWN)
        return None if withheld else self.name.lower()


@dataclass(frozen=True)
class ReliabilityBin:
    """
    Images whose confidence lies in a range.

    :param low: of the range, included; ``high`` is not, but for 1
    :param images: how many there are, at least 1
    :param confidence: their mean
    :param right: share of them whose believed place is right
    """

    low: float
    high: float
    images: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """
    Whether a confidence of p is right in a share p of the cases.

    :param bins: those that hold an image, rising
    :param error: expected calibration error: mean distance of confidence and share of right ones,
        weighted by the images of the bins; 0 is perfect; None without any image
    """

    bins: tuple[ReliabilityBin, ...]
    error: float | None

    @property
    def images(self) -> int:
        """Return how many images it was computed from."""
        return sum(each.images for each in self.bins)


@dataclass(frozen=True, kw_only=True)
class FirstMatch:
    """
    A cold start in the middle of a walk.

    :param start: image of the walk at which the robot was switched on
    :param images: how many it took until one was accepted, that one counted; None for never
    :param right: whether that match is right; None for never
    :param answerable: whether the place of the first image is in the map
    """

    start: int
    images: int | None
    right: bool | None
    answerable: bool


@dataclass(frozen=True, kw_only=True)
class FirstMatches:
    """
    How long a robot that was just switched on takes to know where it is.

    :param limit: images after which a start counts as never
    """

    starts: tuple[FirstMatch, ...]
    limit: int

    @property
    def counted(self) -> tuple[FirstMatch, ...]:
        """Return the starts at a place of the map."""
        return tuple(each for each in self.starts if each.answerable)

    @property
    def median(self) -> float | None:
        """Return the median over the counted starts; None if that one never found a match."""
        images = [math.inf if each.images is None else float(each.images)
                  for each in self.counted]
        middle = float(np.median(images)) if images else math.inf
        return middle if math.isfinite(middle) else None


@dataclass(frozen=True, kw_only=True)
class UnknownScores:
    """
    A walk at places that are not in the map: whatever is accepted there is wrong.

    :param source: what was walked through
    :param interval: of the share of images that were accepted, Wilson 95 %
    :param statuses: what became of how many images
    """

    source: str
    images: int
    accepted: int
    interval: Interval
    statuses: Mapping[Status, int]

    @property
    def share(self) -> float:
        """Return the share of images that were accepted, in [0, 1]."""
        return self.accepted / self.images


@dataclass(frozen=True, kw_only=True)
class DecisionScores:
    """
    What the decision was worth over one walk.

    :param filtered_recall: recall@1 of the believed place, accepted or not: share of answerable
        images for which it is right; None where no image is answerable
    :param accepted: what was accepted; its recall is 0 where no image is answerable
    :param precision_interval: of its precision, Wilson 95 %; None when nothing was accepted
    :param recall_interval: of its recall, Wilson 95 %; None where no image is answerable
    :param curve: accepting every believed place from some confidence on
    :param reliability: of the confidence of the believed place
    :param statuses: what became of how many images, the most frequent first
    :param outcomes: of each image, length Q
    """

    filtered_recall: float | None
    accepted: metrics.AcceptedMatches
    precision_interval: Interval | None
    recall_interval: Interval | None
    curve: metrics.PrecisionRecallCurve
    reliability: Reliability
    statuses: Mapping[Status, int]
    outcomes: tuple[Outcome, ...]


def score(
    believed: Sequence[int | None], confidences: Sequence[float], statuses: Sequence[int],
    positives: metrics.Positives, junk: metrics.Positives = ()
) -> DecisionScores:
    """
    Judge the decisions of a walk.

    :param believed: row of the believed place of each image, None without one, length Q
    :param confidences: that it is right, in [0, 1], length Q
    :param statuses: of :class:`.Status`, length Q
    :param positives: right rows of each image, length Q
    :param junk: rows that are neither right nor wrong, length Q or empty
    :raises GroundTruthError: if a confidence is no probability
    """
    answerable = sum(bool(rows) for rows in positives)
    accepted = [row if status == Status.ACCEPTED else None
                for row, status in zip(believed, statuses)]
    counted = metrics.accepted_matches(accepted, positives, junk)
    judged = np.array([row is not None and not (junk and row in junk[number])
                       for number, row in enumerate(believed)], np.bool_)
    right = np.array([row in rows for row, rows in zip(believed, positives)], np.bool_)
    sure = np.asarray(confidences, np.float64)
    return DecisionScores(
        filtered_recall=float(right.sum() / answerable) if answerable else None, accepted=counted,
        precision_interval=wilson(counted.correct, counted.accepted) if counted.accepted else None,
        recall_interval=wilson(counted.correct, answerable) if answerable else None,
        curve=metrics.precision_recall_curve(sure[judged], right[judged], max(1, answerable)),
        reliability=reliability(sure[judged], right[judged]), statuses=count_statuses(statuses),
        outcomes=tuple(
            outcome(row, number, positives, junk) for number, row in enumerate(accepted)))


def outcome(
    accepted: int | None, number: int, positives: metrics.Positives, junk: metrics.Positives = ()
) -> Outcome:
    """
    Return what became of one image.

    :param accepted: row of the accepted place, None where it was withheld
    :param number: of the image
    """
    if accepted is None:
        return Outcome.WITHHELD if positives[number] else Outcome.UNKNOWN
    if junk and accepted in junk[number]:
        return Outcome.JUNK
    return Outcome.RIGHT if accepted in positives[number] else Outcome.WRONG


def count_statuses(statuses: Sequence[int]) -> dict[Status, int]:
    """Return how often each status occurs, the most frequent first."""
    return {Status(status): count for status, count in Counter(statuses).most_common()}


def unknown_scores(source: str, statuses: Sequence[int]) -> UnknownScores:
    """
    Judge a walk at places that are not in the map.

    :param statuses: of :class:`.Status`, one per image
    :raises GroundTruthError: if there is no image
    """
    accepted = sum(status == Status.ACCEPTED for status in statuses)
    return UnknownScores(
        source=source, images=len(statuses), accepted=accepted,
        interval=wilson(accepted, len(statuses)), statuses=count_statuses(statuses))


def reliability(
    confidences: FloatArray, right: NDArray[np.bool_], *, weights: FloatArray | None = None,
    bins: int = BINS
) -> Reliability:
    """
    Compare what was promised with what was right, in bins of equal width.

    ``error = sum(w_b * |right_b - confidence_b|)`` over the bins b, ``w_b`` their share.
    Source: expected calibration error, Naeini, Cooper and Hauskrecht, AAAI 2015.

    :param confidences: in [0, 1], ``(N,)``
    :param right: whether the place is right, bool ``(N,)``
    :param weights: what each image counts, ``(N,)``; None: all the same
    :raises GroundTruthError: for a confidence that is no probability
    """
    if not ((confidences >= 0.0) & (confidences <= 1.0)).all():  # also refuses NaN
        raise GroundTruthError('a confidence lies outside of [0, 1]; the decision is broken')
    counts = np.ones(len(confidences)) if weights is None else weights
    number = np.minimum((confidences * bins).astype(int), bins - 1)
    found, error = [], 0.0
    for each in np.unique(number).tolist():
        inside = number == each
        share = counts[inside] / counts[inside].sum()
        found.append(ReliabilityBin(
            each / bins, (each + 1) / bins, int(inside.sum()),
            float(share @ confidences[inside]), float(share @ right[inside])))
        error += float(counts[inside].sum()) * abs(found[-1].right - found[-1].confidence)
    return Reliability(tuple(found), error / float(counts.sum()) if found else None)
