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

"""What the decision was worth, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy import decisions
from vpr_compressed.offline.accuracy.decisions import FirstMatch
from vpr_compressed.offline.accuracy.decisions import FirstMatches
from vpr_compressed.offline.accuracy.decisions import Outcome
from vpr_compressed.records import Status

#: Six images; the last two show places that are not in the map.
POSITIVES = [{0}, {1}, {2}, {3}, set[int](), set[int]()]
BELIEVED = [0, 1, 0, None, 4, 5]
CONFIDENCES = [0.95, 0.6, 0.9, 0.0, 0.85, 0.1]
STATUSES = [Status.ACCEPTED, Status.UNSURE, Status.ACCEPTED, Status.EMPTY_MAP, Status.ACCEPTED,
            Status.UNKNOWN]


def test_believed_places_count_whether_they_were_accepted_or_not() -> None:
    """Two of four answerable images are believed rightly, one of them accepted."""
    found = decisions.score(BELIEVED, CONFIDENCES, STATUSES, POSITIVES)
    assert found.filtered_recall == 0.5
    assert (found.accepted.accepted, found.accepted.correct) == (3, 1)
    assert found.accepted.recall == 0.25
    assert found.outcomes == (
        Outcome.RIGHT, Outcome.WITHHELD, Outcome.WRONG, Outcome.WITHHELD, Outcome.WRONG,
        Outcome.UNKNOWN)
    assert next(iter(found.statuses.items())) == (Status.ACCEPTED, 3)
    assert found.statuses[Status.UNSURE] == 1
    # From the surest: right, wrong, wrong (not in the map), right, wrong.
    np.testing.assert_allclose(found.curve.thresholds, [0.95, 0.9, 0.85, 0.6, 0.1])
    np.testing.assert_allclose(found.curve.precision, [1, 1 / 2, 1 / 3, 2 / 4, 2 / 5])
    np.testing.assert_allclose(found.curve.recall, [0.25, 0.25, 0.25, 0.5, 0.5])


def test_intervals_are_those_of_wilson() -> None:
    """One of three accepted, one of four answerable; by hand."""
    found = decisions.score(BELIEVED, CONFIDENCES, STATUSES, POSITIVES)
    assert found.precision_interval is not None
    assert found.recall_interval is not None
    assert found.precision_interval.low == pytest.approx(0.0615, abs=1e-4)
    assert found.precision_interval.high == pytest.approx(0.7923, abs=1e-4)
    assert found.recall_interval.low == pytest.approx(0.0456, abs=1e-4)
    assert found.recall_interval.high == pytest.approx(0.6994, abs=1e-4)


def test_junk_is_neither_right_nor_wrong() -> None:
    """Image 2 believes a place that is too little of its own."""
    junk = [set[int](), set[int](), {0}, set[int](), set[int](), set[int]()]
    found = decisions.score(BELIEVED, CONFIDENCES, STATUSES, POSITIVES, junk)
    assert (found.accepted.accepted, found.accepted.junk) == (2, 1)
    assert found.outcomes[2] is Outcome.JUNK
    assert found.reliability.images == 4
    assert len(found.curve.thresholds) == 4


def test_where_nothing_is_in_the_map_everything_accepted_is_wrong() -> None:
    """No recall is made up."""
    found = decisions.score([0, 1], [0.9, 0.2], [Status.ACCEPTED, Status.UNSURE], [set(), set()])
    assert (found.accepted.accepted, found.accepted.correct) == (1, 0)
    assert found.accepted.precision == 0.0
    assert found.filtered_recall is None
    assert found.recall_interval is None
    assert found.outcomes == (Outcome.WRONG, Outcome.UNKNOWN)


def test_reliability_compares_promise_and_truth_bin_by_bin() -> None:
    """Two of three at 0.9, 0.9 and 0.96; none of one at 0.3; one of one at 1."""
    found = decisions.reliability(
        np.array([0.9, 0.9, 0.96, 0.3, 1.0]), np.array([True, False, True, False, True]), bins=5)
    assert [(each.low, each.high, each.images) for each in found.bins] == [
        (0.2, 0.4, 1), (0.8, 1.0, 4)]
    low, high = found.bins
    assert (low.confidence, low.right) == (pytest.approx(0.3), 0.0)
    assert (high.confidence, high.right) == (pytest.approx(0.94), 0.75)
    assert found.error == pytest.approx((1 * 0.3 + 4 * 0.19) / 5)


def test_a_perfect_confidence_has_no_error() -> None:
    """Half of those at one half are right."""
    found = decisions.reliability(np.array([0.5, 0.5, 1.0]), np.array([True, False, True]))
    assert found.error == 0.0


def test_a_border_belongs_to_the_upper_bin() -> None:
    """But 1 to the last one."""
    found = decisions.reliability(np.array([0.0, 0.5, 1.0]), np.ones(3, bool), bins=2)
    assert [each.images for each in found.bins] == [1, 2]


def test_reliability_of_nothing_is_unknown_and_of_no_probability_refused() -> None:
    """Neither is 0."""
    assert decisions.reliability(np.zeros(0), np.zeros(0, bool)).error is None
    for wrong in (np.nan, -0.1, 1.1):
        with pytest.raises(GroundTruthError, match=r'outside of \[0, 1\]'):
            decisions.reliability(np.array([wrong]), np.ones(1, bool))


def start(images: int | None, *, answerable: bool = True) -> FirstMatch:
    """Return a cold start."""
    return FirstMatch(
        start=0, images=images, right=None if images is None else True, answerable=answerable)


@pytest.mark.parametrize(('images', 'median'), [
    ([3], 3.0), ([1, 4], 2.5), ([2, None, 5], 5.0), ([2, None], None), ([None, None, 1], None),
    ([], None)])
def test_a_start_without_a_match_is_later_than_any(
    images: list[int | None], median: float | None
) -> None:
    """Leaving it out would make the rest look good."""
    assert FirstMatches(starts=tuple(map(start, images)), limit=100).median == median


def test_starts_outside_of_the_map_do_not_count() -> None:
    """There is nothing to find."""
    found = FirstMatches(starts=(start(7), start(1, answerable=False)), limit=100)
    assert found.median == 7.0
    assert len(found.counted) == 1


def test_every_match_of_an_unknown_walk_is_false() -> None:
    """One of four; the interval by hand."""
    found = decisions.unknown_scores(
        'a tower', [Status.UNKNOWN, Status.ACCEPTED, Status.UNKNOWN, Status.UNSURE])
    assert (found.images, found.accepted, found.share) == (4, 1, 0.25)
    assert found.statuses == {Status.UNKNOWN: 2, Status.ACCEPTED: 1, Status.UNSURE: 1}
    assert found.interval.high == pytest.approx(0.6994, abs=1e-4)
