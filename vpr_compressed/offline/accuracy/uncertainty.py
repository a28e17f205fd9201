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
How far a measured accuracy can be trusted, and whether two models differ.

Queries are the sample: *percentile bootstrap* draws as many queries as there are, with
replacement, and computes the number again, :data:`RESAMPLES` times; the interval spans the middle
95 % of what comes out (Efron and Tibshirani 1993, chapter 13). The draws start from a fixed seed,
so equal input gives equal intervals, and two models on the same queries are drawn together.

What the intervals do not cover: another day, another camera, another route. The frames of one
walk resemble their neighbours, so there is less in them than in as many independent queries, and
the intervals are rather too narrow than too wide. The largest recall without an error and EP
hang on a single query and have none: the bootstrap is wrong for extremes.

Shares of counted cases that may be none or all of them (accepted matches that are right, false
accepts) have a *Wilson* interval instead, which the bootstrap would give no width.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy.metrics import FloatArray

#: Resamples of a bootstrap; the limits of an interval then repeat to about a tenth of its width.
RESAMPLES = 10_000
#: Share of the resamples that an interval spans.
LEVEL = 0.95
SEED = 20_170_501
#: Standard deviations that :data:`LEVEL` spans to either side.
_DEVIATIONS = 1.959963984540054
#: Below this p-value a difference is called significant.
ALPHA = 0.05
#: Numbers drawn at once, so that memory stays bounded (8 bytes each).
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; ``low`` and ``high`` in the unit of the number."""

    low: float
    high: float

    def __str__(self) -> str:
        """Return it with three decimals."""
        return f'{self.low:.3f} to {self.high:.3f}'


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    Two models on the same queries, by the most similar place of each.

    :param queries: answerable queries, the sample
    :param difference: recall@1 of the second minus that of the first, in [-1, 1]
    :param interval: of the difference, queries drawn in pairs
    :param only_first: queries that only the first model gets right
    :param only_second: queries that only the second one gets right
    :param p_value: of the exact McNemar test: probability of so uneven a split of the queries on
        which the models differ, if neither were better
    """

    first: str
    second: str
    queries: int
    difference: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float

    @property
    def significant(self) -> bool:
        """Return whether chance alone would hardly make such a difference."""
        return self.p_value < ALPHA

    def sentence(self) -> str:
        """Return the verdict in words."""
        points = 100 * abs(self.difference)
        if not self.only_first and not self.only_second:
            return (f'{self.second} and {self.first} are right on the same {self.queries} '
                    'queries or wrong on them: no difference was seen.')
        split = (f'{self.only_first} queries only {self.first} gets right, {self.only_second} '
                 f'only {self.second}; p = {self.p_value:.3g}')
        kind = 'drop' if self.difference < 0 else 'gain'
        if not self.significant:
            seen = f'a {kind} of {points:.1f} points of' if self.difference else 'the same'
            return (f'{self.second} against {self.first}: {seen} recall@1, not significant '
                    f'({split}): these queries cannot tell the two apart.')
        return (f'{self.second} against {self.first}: a significant {kind} of {points:.1f} points '
                f'of recall@1 ({split}).')

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), 'significant': self.significant, 'sentence': self.sentence()}


def bootstrap_means(
    values: Mapping[str, FloatArray], *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Interval]:
    """
    Return intervals of the means of numbers that each query has, all from the same draws.

    :param values: name -> one number per query, all of the same length
    :returns: name -> interval of the mean
    :raises GroundTruthError: if there is no query
    """
    table = np.stack(list(values.values()), axis=1).astype(np.float64)     # (Q, names)
    means = np.concatenate([
        weights @ table / len(table) for weights in _draws(len(table), resamples, seed)])
    return {name: _interval(means[:, column]) for column, name in enumerate(values)}


def bootstrap_area(
    similarities: FloatArray, right: NDArray[np.bool_], answerable: NDArray[np.bool_], *,
    resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """
    Return the interval of the area under the precision-recall curve, over all queries.

    As :func:`.metrics.precision_recall_curve` and its ``area`` on every draw; draws without an
    answerable query count as 0.

    :param similarities: of the best place of each query, ``(Q,)``, NaN for no answer
    :param right: whether that place is right, bool ``(Q,)``
    :param answerable: whether the query has a right answer, bool ``(Q,)``
    :raises GroundTruthError: if there is no query
    """
    order = np.argsort(np.where(np.isnan(similarities), np.inf, -similarities), kind='stable')
    order = order[:int(np.isfinite(similarities).sum())]
    falling = similarities[order]
    last_of_tie = np.append(falling[1:] != falling[:-1], True)[:len(order)]
    areas = []
    for weights in _draws(len(similarities), resamples, seed):
        answered = weights[:, order]
        accepted = np.cumsum(answered, axis=1)[:, last_of_tie]
        correct = np.cumsum(answered * right[order], axis=1)[:, last_of_tie]
        precision = correct / np.maximum(accepted, 1)
        total = np.maximum(weights @ answerable, 1)
        areas.append((precision * np.diff(correct, prepend=0, axis=1)).sum(axis=1) / total)
    return _interval(np.concatenate(areas))


def compare(
    first: tuple[str, NDArray[np.bool_]], second: tuple[str, NDArray[np.bool_]], *,
    resamples: int = RESAMPLES, seed: int = SEED
) -> Comparison:
    """
    Compare two models on the same answerable queries.

    :param first: name, and whether its most similar place is right, bool ``(A,)``
    :param second: likewise, in the same order
    :raises GroundTruthError: if there is no query, or the numbers of queries differ
    """
    one, other = first[1], second[1]
    if len(one) != len(other):
        raise GroundTruthError(
            f'{first[0]} was asked {len(one)} queries and {second[0]} {len(other)}; only answers '
            'to the same queries can be compared')
    changes = other.astype(np.float64) - one
    interval = bootstrap_means({'': changes}, resamples=resamples, seed=seed)['']
    lost, gained = int((one & ~other).sum()), int((other & ~one).sum())
    return Comparison(
        first=first[0], second=second[0], queries=len(one), difference=float(changes.mean()),
        interval=interval, only_first=lost, only_second=gained, p_value=mcnemar(lost, gained))


def wilson(successes: int, total: int) -> Interval:
    """
    Return the Wilson score interval of a share, in [0, 1]; it has a width also at 0 and at 1.

    With p the share, n the number of cases and z the standard deviations of the level:
    ``(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)``.
    Source: Wilson, Journal of the American Statistical Association 1927.

    :param successes: from 0 to ``total``
    :raises GroundTruthError: if there is no case
    """
    if not 0 <= successes <= total or not total:
        raise GroundTruthError(
            f'{successes} of {total} cases is no share; at least one case is needed')
    share, square = successes / total, _DEVIATIONS ** 2
    centre = share + square / (2 * total)
    spread = _DEVIATIONS * math.sqrt(
        share * (1 - share) / total + square / (4 * total ** 2))
    scale = 1 + square / total
    # Rounding must not leave 0 or 1 outside.
    low = (centre - spread) / scale if successes else 0.0
    high = (centre + spread) / scale if successes < total else 1.0
    return Interval(low, high)


def mcnemar(only_first: int, only_second: int) -> float:
    """
    Return the p-value of the exact two-sided McNemar test.

    If neither model were better, each query on which they differ would fall to either side like a
    coin: twice the probability that the rarer side gets no more than it did, at most 1. Queries
    on which both are right or both are wrong say nothing. Source: McNemar, Psychometrika 1947.

    :param only_first: queries that only the first model gets right
    :param only_second: queries that only the second model gets right
    """
    total, rarer = only_first + only_second, min(only_first, only_second)
    # Whole numbers until the end: nothing underflows, however many queries there are.
    ways, below = 1, 0
    for count in range(rarer + 1):
        below += ways
        ways = ways * (total - count) // (count + 1)
    return min(1.0, math.exp(math.log(2 * below) - total * math.log(2)))


def _draws(queries: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each query was drawn, ``(n, Q)``, in parts that fit into memory."""
    if not queries:
        raise GroundTruthError('no query was measured, its uncertainty is undefined')
    rng = np.random.default_rng(seed)
    part = max(1, _AT_ONCE // queries)
    for start in range(0, resamples, part):
        count = min(part, resamples - start)
        drawn = rng.integers(0, queries, (count, queries))
        drawn += queries * np.arange(count)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=count * queries).reshape(count, queries)


def _interval(values: FloatArray) -> Interval:
    """Return the middle of the resampled values."""
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))
