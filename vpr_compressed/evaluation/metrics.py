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
Accuracy and speed as pure functions of arrays; every number is defined here in words.

Two questions are kept apart. *Ranking*: how well does the order of the map's places answer a
query (recall@N, precision@N, average precision)? Only queries that have a right answer count.
*Decision*: when an answer must be accepted or withheld, how often is it right (precision-recall
curve, accepted matches)? All queries count, and accepting any answer for a query without a
right one is an error.

Rankings are integer rows, best first, ``-1`` where the ranking ends early.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import GroundTruthError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Positives = Sequence[AbstractSet[int]]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """
    Precision and recall of accepting the best answer, for every useful threshold.

    :param thresholds: similarities, falling; an answer is accepted when it is at least this
    :param precision: right accepted answers / accepted answers, ``(T,)``
    :param recall: right accepted answers / answerable queries, ``(T,)``, never falling
    """

    thresholds: FloatArray
    precision: FloatArray
    recall: FloatArray

    @property
    def area(self) -> float:
        """
        Area under the curve, in [0, 1]: the sum of precision times the step in recall.

        No interpolation, so it never flatters. It cannot exceed recall@1.
        """
        return float((self.precision * np.diff(self.recall, prepend=0.0)).sum())

    @property
    def max_recall_at_full_precision(self) -> float:
        """Largest recall reached without one wrong answer; 0 if the surest answer is wrong."""
        return float(self.recall[self.precision >= 1.0].max(initial=0.0))


@dataclass(frozen=True)
class AcceptedMatches:
    """
    What the recogniser accepted, with its own thresholds and agreement over time.

    :param accepted: number of queries it answered
    :param correct: how many of these answers are right
    :param precision: correct / accepted; None when nothing was accepted
    :param recall: correct / answerable queries
    """

    accepted: int
    correct: int
    precision: float | None
    recall: float


def hits(rankings: IntArray, positives: Positives) -> NDArray[np.bool_]:
    """
    Return which entries of the rankings are right.

    :param rankings: reference rows per query, best first, ``(Q, K)``, -1 for none
    :param positives: right rows per query, length Q
    :returns: bool ``(Q, K)``
    """
    if len(rankings) != len(positives):
        raise GroundTruthError(
            f'{len(rankings)} rankings and {len(positives)} right answers do not belong together')
    right = np.zeros(rankings.shape, np.bool_)
    for query, rows in enumerate(positives):
        right[query] = np.isin(rankings[query], list(rows)) if rows else False
    return right


def answerable(positives: Positives) -> NDArray[np.bool_]:
    """
    Return which queries have a right answer, bool ``(Q,)``.

    :raises GroundTruthError: if none has
    """
    mask = np.array([bool(rows) for rows in positives], np.bool_)
    if not mask.any():
        raise GroundTruthError('no query has a right answer, accuracy is undefined')
    return mask


def recall_at(
    rankings: IntArray, positives: Positives, cutoffs: Sequence[int]
) -> dict[int, float]:
    """
    Return the share of answerable queries with a right place among their first N.

    Queries without a right answer are left out. A cut-off beyond the end of a ranking counts
    what is there.

    :returns: N -> recall in [0, 1], never falling with N
    :raises GroundTruthError: if no query is answerable
    """
    right = hits(rankings, positives)[answerable(positives)]
    return {n: float(right[:, :n].any(axis=1).mean()) for n in cutoffs}


def precision_at(
    rankings: IntArray, positives: Positives, cutoffs: Sequence[int]
) -> dict[int, float]:
    """
    Return the share of right places among the first N, averaged over answerable queries.

    It is divided by N, or by the number of places when the map has fewer. A query with P right
    places cannot exceed P / N, so with few right places per query this number is low for N
    above it however good the ranking is.

    :returns: N -> precision in [0, 1]
    :raises GroundTruthError: if no query is answerable
    """
    right = hits(rankings, positives)[answerable(positives)]
    return {
        n: float(right[:, :n].sum(axis=1).mean() / max(1, min(n, rankings.shape[1])))
        for n in cutoffs}


def average_precision(right: NDArray[np.bool_], positives: int) -> float:
    """
    Return the average precision of one ranking.

    The mean over all right places of the precision at the rank where each is found; a right
    place that the ranking does not contain contributes 0. No interpolation.

    :param right: which entries of the ranking are right, best first, bool ``(K,)``
    :param positives: number of right places of this query, >= 1
    """
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float(precision[right].sum() / positives)


def mean_average_precision(rankings: IntArray, positives: Positives) -> float:
    """
    Return the mean over answerable queries of :func:`average_precision`.

    :raises GroundTruthError: if no query is answerable
    """
    right = hits(rankings, positives)
    queries = np.flatnonzero(answerable(positives))
    return float(np.mean(
        [average_precision(right[query], len(positives[query])) for query in queries.tolist()]))


def precision_recall_curve(
    similarities: FloatArray, right: NDArray[np.bool_], answerable_queries: int
) -> PrecisionRecallCurve:
    """
    Return precision and recall of the best answer over all thresholds.

    Queries with equal similarity are accepted together, so the curve does not depend on their
    order. It starts at the surest answer; a query without any answer must be left out.

    :param similarities: of the best place of each query, ``(Q,)``, finite
    :param right: whether that place is right, bool ``(Q,)``
    :param answerable_queries: number of queries that have a right answer, >= 1
    """
    order = np.argsort(-similarities, kind='stable')
    falling = similarities[order]
    correct = np.cumsum(right[order])
    accepted = np.arange(1, len(order) + 1)
    last_of_tie = np.append(falling[1:] != falling[:-1], True) if len(order) else accepted > 0
    return PrecisionRecallCurve(
        falling[last_of_tie], (correct / accepted)[last_of_tie],
        (correct / answerable_queries)[last_of_tie])


def accepted_matches(
    matches: Sequence[int | None], positives: Positives
) -> AcceptedMatches:
    """
    Count the accepted answers.

    :param matches: accepted reference row of each query, None where it was withheld
    :raises GroundTruthError: if no query is answerable
    """
    accepted = [(row, rows) for row, rows in zip(matches, positives) if row is not None]
    correct = sum(row in rows for row, rows in accepted)
    total = int(answerable(positives).sum())
    precision = correct / len(accepted) if accepted else None
    return AcceptedMatches(len(accepted), correct, precision, correct / total)


def percentiles(values: FloatArray, levels: Sequence[int] = (50, 95)) -> dict[str, float]:
    """
    Return percentiles under the names ``p50``, ``p95``, ...

    Linear between the two nearest values; of one value, that value.

    :raises GroundTruthError: if there is no value
    """
    if not len(values):
        raise GroundTruthError('no query was measured, percentiles are undefined')
    return {f'p{level}': float(np.percentile(values, level)) for level in levels}
