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

"""Pictures of a calibration: whether confidences hold, and what precision costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr_compressed.offline.accuracy.decisions import Reliability
from vpr_compressed.offline.accuracy.metrics import PrecisionRecallCurve
from vpr_compressed.offline.accuracy.uncertainty import wilson
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.page import Plot

_COLOURS = (figures.RIGHT, figures.WRONG)


@dataclass(frozen=True, kw_only=True)
class Line:
    """
    One curve of a model.

    :param held_out: whether every image was judged by a fit without its kind of place
    :param points: wanted precision, recall and precision at its threshold
    """

    label: str
    curve: PrecisionRecallCurve
    reliability: Reliability
    held_out: bool
    points: Sequence[tuple[float, float, float]]


def reliability_plot(lines: Sequence[Line]) -> Plot:
    """Draw the share of right places over the confidence."""
    _, axes = figures.new_axes(4.2)
    axes.plot([0, 1], [0, 1], color=figures.WITHHELD, linewidth=1, linestyle='--')
    for line, colour in zip(lines, _COLOURS):
        bins = line.reliability.bins
        sure = np.array([each.confidence for each in bins])
        right = np.array([each.right for each in bins])
        limits = [wilson(round(each.right * each.images), each.images) for each in bins]
        bars = np.abs([[share - limit.low, limit.high - share]
                       for share, limit in zip(right, limits)]).T
        axes.errorbar(
            sure, right, yerr=bars, color=colour, marker='o', markersize=5, capsize=2,
            elinewidth=0.9, label=f'{line.label}: calibration error '
            f'{line.reliability.error or 0.0:.3f}, {line.reliability.images} images')
    axes.set(xlabel='confidence in the believed place', ylabel='right  [share]',
             xlim=(0, 1), ylim=(-0.03, 1.05))
    axes.legend(loc='lower right', frameon=False, fontsize=9)
    judge = 'a fit without its kind of place' if all(line.held_out for line in lines) else (
        'the fit itself where there are fewer than three kinds of place, which flatters it; else '
        'by a fit without its own kind')
    return figures.finish(
        'reliability.png', 'Is a confidence what it says?',
        'On the dashed line, what is believed with confidence p is right in a share p. Every kind '
        f'of place counts alike. Every image is judged by {judge}. Bars: Wilson 95 %, '
        'as if all images were independent.', axes)


def precision_recall_plot(lines: Sequence[Line]) -> Plot:
    """Draw precision over recall, and where the stored thresholds are."""
    _, axes = figures.new_axes(4.2)
    lowest = 1.0
    for line, colour, above in zip(lines, _COLOURS, (7, -14)):
        axes.step(100 * line.curve.recall, 100 * line.curve.precision, where='post',
                  color=colour, linewidth=1.8, label=line.label)
        for wanted, recall, precision in line.points:
            axes.plot(100 * recall, 100 * precision, 'D', color=colour, markersize=6,
                      markeredgecolor='white')
            axes.annotate(f'{wanted:g}'.lstrip('0'), (100 * recall, 100 * precision), (0, above),
                          textcoords='offset points', ha='center', fontsize=8.5,
                          color=colour)
        later = line.curve.precision[line.curve.recall > 0.1]
        lowest = min([lowest, *later.tolist()])
    bottom = max(0.0, 10 * np.floor(10 * lowest - 0.3))
    axes.set(xlabel='recall: rightly reported / places that the map has  [%]',
             ylabel='precision: right / reported  [%]', xlim=(-1, 102),
             ylim=(bottom, 100 + 0.06 * (100 - bottom)))
    axes.legend(loc='lower left', frameon=False, fontsize=9)
    return figures.finish(
        'precision_recall.png', 'What precision costs',
        'Diamonds: the thresholds for the wanted precisions, as min_precision chooses them; with '
        'few images they lie on the side of caution. Every kind of place counts alike, images in '
        'the map and not in it half each.',
        axes)
