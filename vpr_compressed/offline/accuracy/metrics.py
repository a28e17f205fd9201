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

Rankings are integer rows, best first, ``-1`` where the ranking ends early. Places that are
neither right nor wrong (junk, as in Oxford5k) are taken out first, by :func:`without_junk`; every
number of this module is then of the ranking without them, as if the map had never held them.
How far a number can be trusted is computed in :mod:`.uncertainty`.
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

    @property
    def precision_at_least_recall(self) -> float:
        """
        Precision at the smallest recall above 0; 0 if no answer is right.

        1 if the surest answer is right; 1 / k if the surest right one comes k-th.
        """
        reached = self.precision[self.recall > 0.0]
        return float(reached[0]) if len(reached) else 0.0

    @property
    def extended_precision(self) -> float:
        """
        Extended precision EP, in [0, 1]: ``(P_R0 + R_P100) / 2``.

        P_R0 is :attr:`precision_at_least_recall`, R_P100 is
        :attr:`max_recall_at_full_precision`. Above 0.5 the surest answers are right, and it says
        how far that carries; below, R_P100 is 0, and it says how soon a right one comes.
        Source: Ferrarini et al., Exploring Performance Bounds of Visual Place Recognition Using
        Extended Precision, RA-L 2020.
        """
        return (self.precision_at_least_recall + self.max_recall_at_full_precision) / 2


@dataclass(frozen=True)
class AcceptedMatches:
    """
    What the recogniser accepted, with its own decision over time.

    :param accepted: number of queries it answered, answers that are junk not counted
    :param correct: how many of these answers are right
    :param precision: correct / accepted; None when nothing was accepted
    :param recall: correct / answerable queries; 0 where there is none
    :param junk: number of answers that are neither right nor wrong
    """

    accepted: int
    correct: int
    precision: float | None
    recall: float
    junk: int = 0


def without_junk(
    rankings: IntArray, similarities: FloatArray, junk: Positives
) -> tuple[IntArray, FloatArray]:
    """
    Take the places that are neither right nor wrong out of the rankings; the rest moves up.

    :param rankings: reference rows per query, best first, ``(Q, K)``, -1 for none
    :param similarities: cosines to ``rankings``, ``(Q, K)``
    :param junk: rows per query to take out, length Q; empty for none at all
    :returns: both with the same shape, -1 and NaN where the rankings now end
    :raises GroundTruthError: if there are lists for another number of queries
    """
    if not any(junk):
        return rankings, similarities
    gone = hits(rankings, junk) | (rankings < 0)
    order = np.argsort(gone, axis=1, kind='stable')
    ended = np.take_along_axis(gone, order, axis=1)
    return (np.where(ended, -1, np.take_along_axis(rankings, order, axis=1)),
            np.where(ended, np.nan, np.take_along_axis(similarities, order, axis=1)))


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
    right = [np.isin(ranking, list(rows)) for ranking, rows in zip(rankings, positives)]
    return np.array(right, np.bool_).reshape(rankings.shape)


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


def recall_of_all_at(
    rankings: IntArray, positives: Positives, cutoffs: Sequence[int]
) -> dict[int, float]:
    """
    Return the share of all queries with a right place among their first N.

    Like :func:`recall_at`, but a query without a right answer counts as one that failed, as data
    sets with queries outside the map publish it. It cannot exceed the share of answerable ones.

    :returns: N -> recall in [0, 1]
    :raises GroundTruthError: if no query is answerable
    """
    share = float(answerable(positives).mean())
    return {n: share * recall for n, recall in recall_at(rankings, positives, cutoffs).items()}


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


def oxford_average_precision(right: NDArray[np.bool_], positives: int) -> float:
    """
    Return the average precision of one ranking by the protocol of Oxford5k and Paris6k.

    The area under the precision-recall curve by the trapezoid rule: each right place adds
    ``1 / positives`` times the mean of the precision at its rank and at the rank before it (1
    before the first). So it is lower than :func:`average_precision`, by a few hundredths where a
    query has few right places.
    Source: ``compute_ap.cpp`` of the Oxford5k ground truth (Philbin et al., CVPR 2007), which
    skips junk without giving it a rank; so it has to be taken out of the ranking before.

    :param right: which entries of the ranking are right (``good`` or ``ok``), best first,
        bool ``(K,)``; the ranking should be complete, a place that it lacks contributes 0
    :param positives: number of right places of this query, >= 1
    """
    ranks = np.flatnonzero(right)                                  # from 0
    found = np.arange(len(ranks))
    before = np.where(ranks > 0, found / np.maximum(ranks, 1), 1.0)
    return float(((before + (found + 1) / (ranks + 1)) / 2).sum() / positives)


def average_precisions(
    rankings: IntArray, positives: Positives, *, oxford: bool = False
) -> FloatArray:
    """
    Return the average precision of every answerable query, in their order.

    :param oxford: by :func:`oxford_average_precision`, else by :func:`average_precision`
    :returns: float64 ``(A,)``
    :raises GroundTruthError: if no query is answerable
    """
    right = hits(rankings, positives)
    queries = np.flatnonzero(answerable(positives))
    rule = oxford_average_precision if oxford else average_precision
    return np.array(
        [rule(right[query], len(positives[query])) for query in queries.tolist()], np.float64)


def mean_average_precision(
    rankings: IntArray, positives: Positives, *, oxford: bool = False
) -> float:
    """
    Return the mean over answerable queries of :func:`average_precisions`.

    Rankings that are not as deep as the map give a lower bound of it.

    :raises GroundTruthError: if no query is answerable
    """
    return float(average_precisions(rankings, positives, oxford=oxford).mean())


def precision_recall_curve(
    similarities: FloatArray, right: NDArray[np.bool_], answerable_queries: float,
    weights: FloatArray | None = None
) -> PrecisionRecallCurve:
    """
    Return precision and recall of the best answer over all thresholds.

    Queries with equal similarity are accepted together, so the curve does not depend on their
    order. It starts at the surest answer; a query without any answer must be left out.

    :param similarities: of the best place of each query, ``(Q,)``, finite
    :param right: whether that place is right, bool ``(Q,)``
    :param answerable_queries: number of queries that have a right answer, or their weight, > 0
    :param weights: what each query counts, ``(Q,)``; None: all 1
    """
    order = np.argsort(-similarities, kind='stable')
    falling = similarities[order]
    counts = np.ones(len(order)) if weights is None else weights[order]
    correct, accepted = np.cumsum(counts * right[order]), np.cumsum(counts)
    last_of_tie = np.append(falling[1:] != falling[:-1], True) if len(order) else accepted > 0
    return PrecisionRecallCurve(
        falling[last_of_tie], (correct / accepted)[last_of_tie],
        (correct / answerable_queries)[last_of_tie])


def accepted_matches(
    matches: Sequence[int | None], positives: Positives, junk: Positives = ()
) -> AcceptedMatches:
    """
    Count the accepted answers.

    :param matches: accepted reference row of each query, None where it was withheld
    :param junk: rows per query that are neither right nor wrong; empty for none at all
    """
    answers = [(row, query) for query, row in enumerate(matches) if row is not None]
    accepted = [(row, query) for row, query in answers if not junk or row not in junk[query]]
    correct = sum(row in positives[query] for row, query in accepted)
    total = max(1, sum(bool(rows) for rows in positives))
    precision = correct / len(accepted) if accepted else None
    return AcceptedMatches(
        len(accepted), correct, precision, correct / total, len(answers) - len(accepted))


def percentiles(values: FloatArray, levels: Sequence[int] = (50, 95)) -> dict[str, float]:
    """
    Return percentiles under the names ``p50``, ``p95``, ...

    Linear between the two nearest values; of one value, that value.

    :raises GroundTruthError: if there is no value
    """
    if not len(values):
        raise GroundTruthError('no query was measured, percentiles are undefined')
    return {f'p{level}': float(np.percentile(values, level)) for level in levels}
