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

"""Intervals and tests against slow definitions, closed forms and SciPy."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy import uncertainty


@pytest.mark.parametrize(('first', 'second', 'expected'), [
    (0, 0, 1.0),
    (1, 0, 1.0),                     # one coin says nothing
    (5, 0, 2 / 32),
    (0, 6, 2 / 64),
    (8, 2, 2 * (1 + 10 + 45) / 1024),
    (4, 4, 1.0),
])
def test_mcnemar_by_hand(first: int, second: int, expected: float) -> None:
    """Ways to get so few heads, twice, over all ways."""
    assert uncertainty.mcnemar(first, second) == pytest.approx(expected)
    assert uncertainty.mcnemar(second, first) == pytest.approx(expected)


def test_mcnemar_equals_the_binomial_test_of_scipy() -> None:
    """Also where single terms would underflow a float."""
    stats = pytest.importorskip('scipy.stats')
    for first, second in ((1, 3), (7, 16), (30, 11), (300, 420), (5000, 5200), (2000, 9000)):
        expected = stats.binomtest(min(first, second), first + second, 0.5).pvalue
        assert uncertainty.mcnemar(first, second) == pytest.approx(expected, rel=1e-9, abs=0.0)


def test_interval_of_a_share_has_the_width_of_the_binomial_distribution() -> None:
    """Percentiles of a binomial count, which a resampled share is."""
    stats = pytest.importorskip('scipy.stats')
    right = np.arange(400) % 4 > 0
    found = uncertainty.bootstrap_means({'share': right.astype(float)})['share']
    low, high = stats.binom.ppf([0.025, 0.975], 400, 0.75) / 400
    assert (found.low, found.high) == pytest.approx((low, high), abs=1.01 / 400)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(
    rng: np.random.Generator
) -> None:
    """Simulated experiments of 100 queries with recall 0.8."""
    covered = []
    for _ in range(300):
        right = rng.random(100) < 0.8
        found = uncertainty.bootstrap_means({'': right.astype(float)}, resamples=400)['']
        covered.append(found.low <= 0.8 <= found.high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_draws_are_those_of_a_slow_loop_and_shared_by_all_numbers() -> None:
    """The same seed drawn by hand; two numbers with a fixed sum keep it in every resample."""
    values = np.linspace(0, 1, 7) ** 2
    found = uncertainty.bootstrap_means(
        {'a': values, 'b': 1 - values}, resamples=500, seed=3)
    drawn = np.random.default_rng(3).integers(0, 7, (500, 7))
    means = [np.mean([values[query] for query in draw]) for draw in drawn]
    assert found['a'].low == pytest.approx(np.percentile(means, 2.5))
    assert found['b'].high == pytest.approx(1 - found['a'].low)


def test_parts_that_fit_into_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream of random numbers is the same."""
    values = {'': np.arange(10.0)}
    whole = uncertainty.bootstrap_means(values, resamples=1000)
    monkeypatch.setattr(uncertainty, '_AT_ONCE', 70)
    assert uncertainty.bootstrap_means(values, resamples=1000) == whole


def test_area_of_every_draw_is_that_of_the_curve(rng: np.random.Generator) -> None:
    """With ties, queries without an answer, and unanswerable ones."""
    queries = 30
    similarities = rng.normal(size=queries).round(1)
    similarities[[3, 17]] = np.nan
    answerable = rng.random(queries) < 0.8
    right = answerable & (rng.random(queries) < 0.6) & np.isfinite(similarities)
    found = uncertainty.bootstrap_area(similarities, right, answerable, resamples=200, seed=5)
    areas = []
    for draw in np.random.default_rng(5).integers(0, queries, (200, queries)):
        known = draw[np.isfinite(similarities[draw])]
        areas.append(metrics.precision_recall_curve(
            similarities[known], right[known], max(1, int(answerable[draw].sum()))).area)
    assert found.low == pytest.approx(np.percentile(areas, 2.5))
    assert found.high == pytest.approx(np.percentile(areas, 97.5))


def test_comparison_counts_pairs() -> None:
    """Six queries lost, none gained, of twenty: significant; the interval leaves out zero."""
    before = np.ones(20, bool)
    after = before.copy()
    after[:6] = False
    found = uncertainty.compare(('big', before), ('small', after))
    assert (found.only_first, found.only_second, found.queries) == (6, 0, 20)
    assert found.difference == pytest.approx(-0.3)
    assert found.p_value == pytest.approx(2 / 64)
    assert found.interval.high < 0
    assert found.sentence().startswith('small against big: a significant drop of 30.0 points')
    assert found.to_json()['significant'] is True


@pytest.mark.parametrize(('gained', 'text'), [
    (0, 'a drop of 15.0 points of recall@1, not significant (3 queries only big gets right, 0'),
    (3, 'the same recall@1, not significant (3 queries only big'),
    (20, 'a significant gain of 70.0 points'),
])
def test_the_verdict_is_said_in_words(gained: int, text: str) -> None:
    """Three lost; the other queries are gained or wrong with both."""
    before = np.zeros(20, bool)
    before[:3] = True
    after = np.zeros(20, bool)
    after[3:3 + gained] = True
    assert text in uncertainty.compare(('big', before), ('small', after)).sentence()


def test_equal_answers_are_no_difference() -> None:
    """Not even one query tells them apart."""
    right = np.array([True, False])
    found = uncertainty.compare(('a', right), ('b', right))
    assert (found.p_value, found.interval.low, found.interval.high) == (1.0, 0.0, 0.0)
    assert 'no difference was seen' in found.sentence()


def test_nothing_to_compare_is_refused() -> None:
    """No query, or not the same ones."""
    with pytest.raises(GroundTruthError, match='no query was measured'):
        uncertainty.bootstrap_means({'': np.zeros(0)})
    with pytest.raises(GroundTruthError, match='a was asked 2 queries and b 3'):
        uncertainty.compare(('a', np.ones(2, bool)), ('b', np.ones(3, bool)))


@pytest.mark.parametrize(('successes', 'total', 'low', 'high'), [
    # By the formula on paper; the first is the usual example of textbooks.
    (8, 10, 0.4902, 0.9433), (0, 5, 0.0, 0.4345), (5, 5, 0.5655, 1.0), (1, 4, 0.0456, 0.6994),
    (2, 5000, 0.00011, 0.00146)])
def test_wilson_by_hand(successes: int, total: int, low: float, high: float) -> None:
    """It has a width at both ends."""
    found = uncertainty.wilson(successes, total)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)
    assert found.low <= successes / total <= found.high


@pytest.mark.parametrize(('successes', 'total'), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_has_no_interval(successes: int, total: int) -> None:
    """Nor has one that cannot be."""
    with pytest.raises(GroundTruthError, match='is no share'):
        uncertainty.wilson(successes, total)
