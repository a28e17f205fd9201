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

"""The pictures that say how far the decision can be relied on."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import pytest

from vpr_compressed.offline.accuracy.decisions import FirstMatch
from vpr_compressed.offline.accuracy.decisions import FirstMatches
from vpr_compressed.offline.accuracy.decisions import reliability
from vpr_compressed.offline.accuracy.decisions import score
from vpr_compressed.offline.accuracy.metrics import precision_recall_curve
from vpr_compressed.offline.reports.decision_plots import DecisionLine
from vpr_compressed.offline.reports.decision_plots import first_match_plot
from vpr_compressed.offline.reports.decision_plots import marked_points
from vpr_compressed.offline.reports.decision_plots import precision_recall_plot
from vpr_compressed.offline.reports.decision_plots import reliability_plot
from vpr_compressed.records import Status

Words = Callable[[], list[str]]
THRESHOLDS = {0.9: 0.45, 0.95: 0.75, 0.98: 0.76, 0.99: 0.95, 0.999: 0.99}


def make_line(label: str = 'default', accept_from: float = 0.75) -> DecisionLine:
    """Return ten images, 0.9 to 0.0 sure, the fifth and the last three of them wrong."""
    sure = np.arange(9, -1, -1) / 10
    right = np.array([True] * 4 + [False] + [True] * 2 + [False] * 3)
    statuses = np.where(sure >= accept_from, Status.ACCEPTED, Status.UNSURE).tolist()
    scores = score([0 if each else 1 for each in right], sure.tolist(), statuses, [{0}] * 10)
    return DecisionLine(
        label=label, decision=scores.curve, image=precision_recall_curve(sure, right[::-1], 10),
        accepted=scores.accepted, precision_interval=scores.precision_interval,
        recall_interval=scores.recall_interval, thresholds=THRESHOLDS)


def starts(images: Sequence[int | None], wrong: int = 0) -> FirstMatches:
    """Return cold starts, the first of them with a wrong match, and one at no place of the map."""
    return FirstMatches(limit=40, starts=(
        FirstMatch(start=999, images=1, right=False, answerable=False),
        *(FirstMatch(start=number, images=each, answerable=True,
                     right=None if each is None else number >= wrong)
          for number, each in enumerate(images))))


def test_marks_are_where_the_threshold_cuts_the_curve() -> None:
    """Six are 0.4 sure or more, two are 0.75: one is wrong of those, none of these."""
    assert marked_points(make_line()) == [
        ('.9', pytest.approx(0.4), pytest.approx(0.8)),
        ('.95, .98', pytest.approx(0.2), pytest.approx(1.0))]


def test_a_threshold_is_reached_by_what_equals_it() -> None:
    """As in the decision itself."""
    line = make_line()
    object.__setattr__(line, 'thresholds', {0.9: 0.9, 0.99: np.nextafter(0.9, 1.0)})
    assert [name for name, *_ in marked_points(line)] == ['.9']


def test_curve_of_the_decision_stands_beside_that_of_one_image(drawn_words: Words) -> None:
    """With marks that are named, and where it works."""
    plot = precision_recall_plot([make_line()])
    words = drawn_words()
    assert {'.9', '.95, .98', 'decision over the walk',
            'one image, by its similarity'} <= set(words)
    assert any(each.startswith('default: area 0.5') and each.endswith('accepts 2, 100.0% right')
               for each in words)
    assert plot.title == 'Precision and recall of the decision: 100.0% right at 20.0% recall'
    assert 'min_precision' in plot.caption


def test_nothing_accepted_is_said_in_the_title(drawn_words: Words) -> None:
    """The curve then says what a lower threshold would give."""
    plot = precision_recall_plot([make_line(accept_from=1.5)])
    assert 'nothing is accepted' in plot.title
    assert any(each.endswith('accepts nothing') for each in drawn_words())


def test_models_share_a_picture(drawn_words: Words) -> None:
    """Each a line of the legend; the marks of the first only have names."""
    precision_recall_plot([make_line('one'), make_line('two'), make_line('three', 1.5)])
    words = drawn_words()
    assert [sum(each.startswith(f'{name}: area') for each in words)
            for name in ('one', 'two', 'three')] == [1, 1, 1]
    assert words.count('.9') == 1


def test_reliability_has_the_error_and_the_count_of_every_step(drawn_words: Words) -> None:
    """Of five images that are 0.9 sure four are right, of two that are 0.2 sure one."""
    found = reliability(np.array([0.95] * 5 + [0.25] * 2), np.array([1, 1, 1, 1, 0, 1, 0], bool))
    plot = reliability_plot([('default', found)])
    assert plot.title == 'Reliability: expected calibration error 0.179'
    assert {'5', '2', 'default: calibration error 0.179, 7 images'} <= set(drawn_words())
    assert 'Wilson' in plot.caption


def test_reliability_without_an_image_is_an_empty_picture(drawn_words: Words) -> None:
    """Nothing was believed; that is no error of 0."""
    empty = reliability(np.zeros(0), np.zeros(0, bool))
    assert reliability_plot([('default', empty)]).title.endswith('error -')
    assert 'default: calibration error none, 0 images' in drawn_words()


def test_cold_starts_without_a_match_stay_in_the_count(drawn_words: Words) -> None:
    """Of five starts one never had a match, and one had a wrong one."""
    plot = first_match_plot([('default', starts([3, 1, 7, None, 4], wrong=1))])
    assert plot.title == 'Time to first match: half of the cold starts within 4 images'
    assert ('default: median 4; of 5 starts 1 without a match, 1 with a wrong one first'
            in drawn_words())
    assert 'at 5 points of the walk' in plot.caption
    assert 'within 40 images' in plot.caption


def test_a_median_that_was_never_reached_is_none(drawn_words: Words) -> None:
    """Three of four starts never had a match."""
    plot = first_match_plot([('default', starts([2, None, None, None]))])
    assert plot.title == 'Time to first match: fewer than half of the cold starts had one'
    assert any('no median' in each for each in drawn_words())
    several = first_match_plot([('one', starts([1, 1])), ('two', starts([None, None]))])
    assert 'each model' in several.title
