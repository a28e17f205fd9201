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

"""Every metric on cases that fit on a sheet of paper."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy import metrics

# Four queries against five places. Query 3 has no right answer.
RANKINGS = np.array([
    [0, 1, 2, 3, 4],
    [4, 1, 0, 2, 3],
    [4, 3, 1, 0, 2],
    [2, 0, 1, 3, 4],
])
POSITIVES = [{0, 1}, {1}, {2}, set()]


def test_recall_counts_answerable_queries_only() -> None:
    """Query 0 is right at once, 1 at rank two, 2 at rank five; 3 is left out."""
    assert metrics.recall_at(RANKINGS, POSITIVES, [1, 2, 5, 10]) == {
        1: 1 / 3, 2: 2 / 3, 5: 1.0, 10: 1.0}


def test_precision_is_the_mean_share_of_right_places() -> None:
    """Right among the first two: 2, 1 and 0; beyond the end of the map it divides by its size."""
    found = metrics.precision_at(RANKINGS, POSITIVES, [1, 2, 5, 10])
    assert found == pytest.approx({1: 1 / 3, 2: 3 / 6, 5: 4 / 15, 10: 4 / 15})


def test_average_precision_by_hand() -> None:
    """Right places at ranks 1, 3 and 5 of 4 in all: (1/1 + 2/3 + 3/5 + 0) / 4."""
    right = np.array([True, False, True, False, True])
    expected = (Fraction(1) + Fraction(2, 3) + Fraction(3, 5)) / 4
    assert metrics.average_precision(right, 4) == pytest.approx(float(expected))


def test_mean_average_precision_is_the_mean_over_answerable_queries() -> None:
    """(1 + 1/2 + 1/5) / 3; the mean of one right place each is the mean reciprocal rank."""
    expected = (1 + 1 / 2 + 1 / 5) / 3
    assert metrics.mean_average_precision(RANKINGS, POSITIVES) == pytest.approx(expected)


def test_average_precision_equals_that_of_scikit_learn(rng: np.random.Generator) -> None:
    """The usual implementation, on random rankings without ties."""
    sklearn = pytest.importorskip('sklearn.metrics')
    for _ in range(20):
        right = rng.random(30) < 0.3
        right[rng.integers(30)] = True
        expected = sklearn.average_precision_score(right, -np.arange(30.0))
        assert metrics.average_precision(right, int(right.sum())) == pytest.approx(expected)


def test_rankings_may_end_early() -> None:
    """The value -1 means no place and is never right, not even for the last place."""
    rankings = np.array([[-1, -1], [1, -1]])
    assert metrics.recall_at(rankings, [{0}, {1}], [1, 2]) == {1: 0.5, 2: 0.5}
    assert metrics.mean_average_precision(rankings, [{0}, {1}]) == 0.5


def test_accuracy_without_an_answerable_query_is_refused() -> None:
    """No division by zero and no invented number."""
    with pytest.raises(GroundTruthError, match='no query has a right answer'):
        metrics.recall_at(RANKINGS, [set()] * 4, [1])


def test_rankings_and_answers_of_different_length_are_refused() -> None:
    """They cannot belong together."""
    with pytest.raises(GroundTruthError, match='4 rankings and 3 right answers'):
        metrics.recall_at(RANKINGS, POSITIVES[:3], [1])


def test_precision_recall_curve_by_hand() -> None:
    """Accepting one after the other, of five answerable queries: r r w r w."""
    similarities = np.array([0.2, 0.9, 0.5, 0.7, 0.6])
    right = np.array([False, True, True, True, False])
    curve = metrics.precision_recall_curve(similarities, right, 5)
    np.testing.assert_allclose(curve.thresholds, [0.9, 0.7, 0.6, 0.5, 0.2])
    np.testing.assert_allclose(curve.precision, [1, 1, 2 / 3, 3 / 4, 3 / 5])
    np.testing.assert_allclose(curve.recall, [1 / 5, 2 / 5, 2 / 5, 3 / 5, 3 / 5])
    assert curve.area == pytest.approx(1 / 5 + 1 / 5 + 3 / 4 / 5)
    assert curve.max_recall_at_full_precision == pytest.approx(2 / 5)


def test_equal_similarities_are_accepted_together() -> None:
    """So the curve does not depend on the order of the queries."""
    similarities = np.array([0.5, 0.5, 0.5, 0.1])
    for right in ([True, False, False, True], [False, False, True, True]):
        curve = metrics.precision_recall_curve(similarities, np.array(right), 4)
        np.testing.assert_allclose(curve.precision, [1 / 3, 1 / 2])
        np.testing.assert_allclose(curve.recall, [1 / 4, 1 / 2])
        assert curve.max_recall_at_full_precision == 0.0


def test_curve_of_perfect_and_of_hopeless_answers() -> None:
    """Area one and zero."""
    similarities = np.array([0.3, 0.2])
    perfect = metrics.precision_recall_curve(similarities, np.array([True, True]), 2)
    hopeless = metrics.precision_recall_curve(similarities, np.array([False, False]), 2)
    assert (perfect.area, perfect.max_recall_at_full_precision) == (1.0, 1.0)
    assert (hopeless.area, hopeless.max_recall_at_full_precision) == (0.0, 0.0)


def test_curve_of_no_answer_is_empty() -> None:
    """A map that knows nothing answers nothing."""
    curve = metrics.precision_recall_curve(np.zeros(0), np.zeros(0, bool), 3)
    assert len(curve.thresholds) == 0
    assert (curve.area, curve.max_recall_at_full_precision) == (0.0, 0.0)


def test_area_never_exceeds_the_share_of_right_answers(rng: np.random.Generator) -> None:
    """The end of the curve is recall@1, and precision is at most one."""
    for _ in range(50):
        right = rng.random(40) < rng.random()
        curve = metrics.precision_recall_curve(rng.normal(size=40).round(1), right, 40)
        assert 0 <= curve.area <= right.mean() + 1e-12
        assert np.all(np.diff(curve.recall) >= 0)
        assert curve.max_recall_at_full_precision <= curve.recall[-1]


def test_accepted_matches_count_answers_to_unanswerable_queries_as_wrong() -> None:
    """Two right, one wrong, and one for query 3, which nobody can answer."""
    found = metrics.accepted_matches([1, 1, 0, 4], POSITIVES)
    assert (found.accepted, found.correct) == (4, 2)
    assert found.precision == 0.5
    assert found.recall == pytest.approx(2 / 3)


def test_precision_of_nothing_is_not_a_number_but_none() -> None:
    """Neither 0 nor 1 would be true."""
    found = metrics.accepted_matches([None] * 4, POSITIVES)
    assert (found.accepted, found.precision, found.recall) == (0, None, 0.0)


def test_percentiles_of_one_value_are_that_value() -> None:
    """And none can be made of nothing."""
    assert metrics.percentiles(np.array([7.0])) == {'p50': 7.0, 'p95': 7.0}
    assert metrics.percentiles(np.arange(101.0)) == {'p50': 50.0, 'p95': 95.0}
    with pytest.raises(GroundTruthError, match='no query was measured'):
        metrics.percentiles(np.zeros(0))


def test_recall_of_all_counts_a_query_without_an_answer_as_failed() -> None:
    """A third of the three answerable ones is a quarter of the four."""
    assert metrics.recall_of_all_at(RANKINGS, POSITIVES, [1, 5]) == pytest.approx(
        {1: 1 / 4, 5: 3 / 4})


def test_junk_is_taken_out_and_the_rest_moves_up() -> None:
    """As if the map had never held it; similarities stay with their places."""
    rankings = np.array([[3, 1, 0, 2], [0, 1, -1, -1], [2, 1, 3, 0]])
    similarities = np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, np.nan, np.nan], [4, 3, 2, 1.0]])
    rows, cosines = metrics.without_junk(rankings, similarities, [{3, 0}, {0}, set()])
    np.testing.assert_array_equal(rows, [[1, 2, -1, -1], [1, -1, -1, -1], [2, 1, 3, 0]])
    np.testing.assert_array_equal(
        cosines, [[0.8, 0.6, np.nan, np.nan], [0.8, np.nan, np.nan, np.nan], [4, 3, 2, 1]])
    assert metrics.recall_at(rows, [{1}, {1}, {0}], [1]) == {1: 2 / 3}


def test_without_any_junk_nothing_is_copied() -> None:
    """The usual case; lists of another length are refused."""
    similarities = np.zeros(RANKINGS.shape)
    assert metrics.without_junk(RANKINGS, similarities, ())[0] is RANKINGS
    with pytest.raises(GroundTruthError, match='4 rankings and 1 right'):
        metrics.without_junk(RANKINGS, similarities, [{1}])


def test_oxford_average_precision_by_hand() -> None:
    """Right at ranks 1 and 3 of two: (1 + 1) / 2 / 2 + (1/2 + 2/3) / 2 / 2."""
    right = np.array([True, False, True, False])
    expected = Fraction(1, 2) + (Fraction(1, 2) + Fraction(2, 3)) / 4
    assert metrics.oxford_average_precision(right, 2) == pytest.approx(float(expected))
    # First at rank 2 of one: between precision 0 at rank 1 and 1/2.
    assert metrics.oxford_average_precision(np.array([False, True]), 1) == 0.25
    assert metrics.oxford_average_precision(np.array([False, False]), 1) == 0.0


def slow_oxford_ap(ranked: list[int], positive: set[int], junk: set[int]) -> Fraction:
    """
    Return the area as the published protocol says it: walk the list, add one trapezoid a step.

    Junk does not take part: neither a step nor a rank. Recall starts at 0, precision at 1.
    """
    area, recall, precision = Fraction(0), Fraction(0), Fraction(1)
    found = seen = 0
    for name in ranked:
        if name in junk:
            continue
        seen += 1
        found += name in positive
        new = Fraction(found, len(positive)), Fraction(found, seen)
        area += (new[0] - recall) * (precision + new[1]) / 2
        recall, precision = new
    return area


def test_oxford_protocol_equals_a_walk_along_each_list(rng: np.random.Generator) -> None:
    """Generated queries with junk at the top, in the middle and at the end of their rankings."""
    places, queries = 60, 25
    rankings = np.array([rng.permutation(places) for _ in range(queries)])
    positives, junk = [], []
    for ranking in rankings:
        kind = rng.random(places)
        kind[:3] = rng.permutation([0.05, 0.25, 0.9])  # all kinds near the top
        positives.append(set(ranking[kind < 0.15].tolist()))
        junk.append(set(ranking[(kind >= 0.15) & (kind < 0.35)].tolist()))
    rows, _ = metrics.without_junk(rankings, np.zeros(rankings.shape), junk)
    expected = [
        float(slow_oxford_ap(ranking.tolist(), right, bad))
        for ranking, right, bad in zip(rankings, positives, junk)]
    np.testing.assert_allclose(
        metrics.average_precisions(rows, positives, oxford=True), expected)
    assert metrics.mean_average_precision(rows, positives, oxford=True) == pytest.approx(
        np.mean(expected))
    with_junk = metrics.mean_average_precision(rankings, positives, oxford=True)
    assert with_junk < np.mean(expected) - 0.01, 'junk must matter in this case'


def test_extended_precision_by_hand() -> None:
    """Surest right: 1 and the recall before the first error; surest wrong: 1 over its rank."""
    falling = np.array([0.9, 0.8, 0.7, 0.6])
    curve = metrics.precision_recall_curve(falling, np.array([True, True, False, True]), 5)
    assert curve.extended_precision == pytest.approx((1 + 2 / 5) / 2)
    curve = metrics.precision_recall_curve(falling, np.array([False, False, True, True]), 5)
    assert (curve.precision_at_least_recall, curve.max_recall_at_full_precision) == (1 / 3, 0.0)
    assert curve.extended_precision == pytest.approx(1 / 6)
    curve = metrics.precision_recall_curve(falling, np.zeros(4, bool), 5)
    assert curve.extended_precision == 0.0


def test_curve_and_area_equal_those_of_scikit_learn(rng: np.random.Generator) -> None:
    """With ties; its recall is of the queries that were answered right, so ours is scaled."""
    sklearn = pytest.importorskip('sklearn.metrics')
    for _ in range(20):
        similarities, right = rng.normal(size=50).round(1), rng.random(50) < 0.6
        right[0] = True
        curve = metrics.precision_recall_curve(similarities, right, 50)
        precision, recall, thresholds = sklearn.precision_recall_curve(
            right, similarities, drop_intermediate=False)
        np.testing.assert_allclose(curve.thresholds, thresholds[::-1])
        np.testing.assert_allclose(curve.precision, precision[:-1][::-1])
        np.testing.assert_allclose(curve.recall, right.mean() * recall[:-1][::-1])
        assert curve.area == pytest.approx(
            right.mean() * sklearn.average_precision_score(right, similarities))


def test_accepted_junk_is_neither_right_nor_wrong() -> None:
    """Three answers, one right, one wrong, one junk."""
    found = metrics.accepted_matches([1, 2, 3, None], [{1}, {1}, {1}, {1}], [{9}, set(), {3}, {1}])
    assert (found.accepted, found.correct, found.junk) == (2, 1, 1)
    assert (found.precision, found.recall) == (0.5, 0.25)
