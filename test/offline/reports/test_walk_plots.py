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

"""The pictures of a walk: each image, and each return to a place seen before."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.walk_plots import CELLS
from vpr_compressed.offline.reports.walk_plots import revisit_plot
from vpr_compressed.offline.reports.walk_plots import Revisits
from vpr_compressed.offline.reports.walk_plots import row_length
from vpr_compressed.offline.reports.walk_plots import Strip
from vpr_compressed.offline.reports.walk_plots import walk_plot
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Status

Words = Callable[[], list[str]]


def strip(kinds: list[str], label: str = 'default') -> Strip:
    """Return a strip whose confidence rises."""
    return Strip(label=label, kinds=kinds, confidences=np.linspace(0, 1, len(kinds)),
                 threshold=0.9)


def pixels_of(image: ImageArray, colour: str) -> int:
    """Return how many pixels have nearly this colour."""
    wanted = [int(colour[start:start + 2], 16) for start in (1, 3, 5)]
    return int((np.abs(image.astype(int) - wanted).max(axis=2) < 40).sum())


def test_every_reason_to_withhold_has_a_look_and_words_of_its_own() -> None:
    """A status without a cell could not be drawn; two alike could not be told apart."""
    withheld = set(Status) - {Status.ACCEPTED, Status.CANDIDATE}
    for status in withheld:
        assert status.words in CELLS[status.name.lower()].words
    assert len(CELLS) == 3 + len(withheld)
    assert len({cell.words for cell in CELLS.values()}) == len(CELLS)


@pytest.mark.parametrize('matrix', [
    [[0.11, 0.89, 0.0], [0.11, 0.89, 0.0], [0.0, 0.0, 1.0]],   # about deuteranopia
    [[0.95, 0.05, 0.0], [0.0, 0.43, 0.57], [0.0, 0.47, 0.53]],  # about tritanopia
    [[0.3, 0.59, 0.11]] * 3,                                    # a print in grey
], ids=['red and green alike', 'blue and yellow alike', 'grey'])
def test_cells_differ_for_every_colour_vision(matrix: list[list[float]]) -> None:
    """By what is left of their colours, or by their height."""
    seen = []
    for cell in CELLS.values():
        rgb = [int(cell.colour[start:start + 2], 16) for start in (1, 3, 5)]
        seen.append([*(np.array(matrix) @ rgb / 255), 1.5 * cell.height])
    gaps = [np.abs(np.subtract(one, other)).max()
            for number, one in enumerate(seen) for other in seen[:number]]
    assert min(gaps) > 0.08


@pytest.mark.parametrize(('count', 'models', 'length'), [
    (8, 1, 50), (111, 1, 111), (200, 1, 200), (201, 1, 110), (2000, 1, 200), (2000, 5, 500),
    (2000, 30, 2000), (100_000, 1, 8340)])
def test_long_walks_go_on_in_the_next_row(count: int, models: int, length: int) -> None:
    """Some 200 images a row while the rows fit a page; never more than twelve rows."""
    assert row_length(count, models) == length
    assert length * 12 >= count


def test_legend_names_what_occurs_and_how_often(drawn_words: Words) -> None:
    """Nothing that does not occur; colours alone would explain nothing."""
    kinds = ['unsure'] * 2 + ['right'] * 4 + ['wrong', 'look_alike', 'unknown']
    mapped = np.array([True] * 8 + [False])
    plot = walk_plot([strip(kinds)], mapped)
    words = drawn_words()
    assert {'accepted, right (4)', 'accepted, WRONG (1)', 'withheld: not sure enough yet (2)',
            'withheld: two places look alike (1)', 'confidence, 0 to 1',
            'withheld: nothing known looks like this (1)', 'confidence that is accepted',
            'bar below: no right place in the map'} <= set(words)
    assert sum(each.startswith(('withheld:', 'accepted,')) for each in words) == 5
    assert plot.title == 'The walk: 4 of 9 images accepted and right, 1 wrong, 4 withheld'
    assert plot.wide
    walk_plot([strip(kinds)], np.ones(9, bool))
    assert 'bar below: no right place in the map' not in drawn_words()


def test_each_model_has_a_strip_with_its_name(drawn_words: Words) -> None:
    """In every row, so that nobody has to count."""
    kinds = ['right', 'unsure'] * 150
    labels = ['default', 'small', 'a_model_whose_name_is_long_v2']
    plot = walk_plot([strip(kinds, label) for label in labels], np.ones(300, bool))
    words = drawn_words()
    assert [words.count(each) for each in ('default', 'small')] == [2, 2]
    assert sum(each.endswith('name_is_long_v2') for each in words) == 2
    assert labels[2] not in words
    assert 'accepted, right' in words
    assert 'what each model told the robot' in plot.title


@pytest.mark.parametrize('count', [1, 2000, 60_000])
def test_one_wrong_image_is_seen_in_a_walk_of_any_length(count: int) -> None:
    """It is what a reader looks for."""
    kinds = ['right'] * count
    good = pixels_of(walk_plot([strip(kinds)], np.ones(count, bool)).pixels, figures.WRONG)
    kinds[count // 2] = 'wrong'
    bad = pixels_of(walk_plot([strip(kinds)], np.ones(count, bool)).pixels, figures.WRONG)
    # Without the entry of the legend it would be seen as well.
    assert bad > good + 300


def test_revisits_tell_right_closures_from_wrong_ones(drawn_words: Words) -> None:
    """Three of four returns are noticed, and one closure is of another place."""
    plot = revisit_plot('', Revisits(
        times_s=np.arange(8.0), matches=[None, None, 0, None, 0, 1, None, 3],
        verdicts=[None, None, 'wrong', None, 'right', 'right', None, 'right'],
        truth=[set(), set(), set(), set(), {0}, {1}, {2}, {3}], exclude_s=2.0))
    assert plot.title == (
        'Revisits: 3 of 4 closures right, 3 of 4 images at places seen before noticed')
    assert {'accepted, right (3)', 'accepted, wrong (1)', 'the same place, seen before',
            'too recent to be searched'} <= set(drawn_words())
    assert 'no closure' in revisit_plot('mine', Revisits(
        times_s=np.arange(3.0), matches=[None] * 3, verdicts=[None] * 3, truth=[set()] * 3,
        exclude_s=2.0)).title


def test_wide_pictures_fit_their_caption() -> None:
    """It is as wide as the picture, not as a column."""
    plot = walk_plot([strip(['right'] * 40)], np.ones(40, bool))
    data = np.frombuffer(plot.png(caption=True), np.uint8)
    band = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)[-plot.caption_rows:]
    columns = np.flatnonzero((band < 200).any(axis=0))
    assert columns.max() > 0.75 * band.shape[1]
    assert columns.max() < band.shape[1] - 10
