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

"""How far the decision can be relied on: precision, confidence, and how long a start takes."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from vpr_compressed.offline.accuracy.decisions import FirstMatches
from vpr_compressed.offline.accuracy.decisions import Reliability
from vpr_compressed.offline.accuracy.metrics import AcceptedMatches
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import PrecisionRecallCurve
from vpr_compressed.offline.accuracy.uncertainty import Interval
from vpr_compressed.offline.accuracy.uncertainty import wilson
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.page import described
from vpr_compressed.offline.reports.page import Plot

#: Row of a legend below a plot, in inches.
LEGEND_IN = 0.2
#: Marks on a curve that are closer than this, in percent, share a label.
_TOGETHER = 2.5


@dataclass(frozen=True, kw_only=True)
class DecisionLine:
    """
    One model in the plot of precision and recall.

    :param decision: over the confidence in the believed place
    :param image: over the similarity of the most similar place, for comparison; may be None
    :param accepted: what was accepted at the operating point
    :param precision_interval: of its precision, None when nothing was accepted
    :param recall_interval: of its recall, None without answerable queries
    :param thresholds: wanted precision -> confidence from which it is promised
    """

    label: str
    decision: PrecisionRecallCurve
    image: PrecisionRecallCurve | None
    accepted: AcceptedMatches
    precision_interval: Interval | None
    recall_interval: Interval | None
    thresholds: Mapping[float, float] = field(default_factory=dict)


def precision_recall_plot(lines: Sequence[DecisionLine]) -> Plot:
    """Draw precision over recall of the decision and of one image, and where it works."""
    _, axes = figures.new_axes(4.4 + LEGEND_IN * (len(lines) + 2))
    lowest = [100.0]
    for number, line in enumerate(lines):
        look, accepted = figures.line(number), line.accepted
        alone = ''
        if line.image is not None:
            _draw_curve(axes, line.image, **{**look, 'linewidth': 0.9, 'alpha': 0.7})
            alone = f' (one image {line.image.area:.3f})'
        share = 'accepts nothing' if accepted.precision is None else (
            f'accepts {accepted.accepted}, {accepted.precision:.1%} right')
        _draw_curve(
            axes, line.decision, **{**look, 'linewidth': 2.2},
            label=f'{figures.shortened(line.label)}: area {line.decision.area:.3f}{alone}, '
            f'{share}')
        _mark_thresholds(axes, line, look['color'], named=number == 0)
        if accepted.precision is not None:
            _draw_point(axes, line, look['color'])
        if line.precision_interval is not None:
            lowest.append(100 * line.precision_interval.low)
        lowest += [100 * curve.precision[curve.recall > 0.1 * curve.recall[-1]].min()
                   for curve in (line.decision, line.image) if curve and np.any(curve.recall > 0)]
    bottom = max(0.0, 10 * np.floor(min(lowest) / 10 - 0.3))
    axes.set(
        xlabel='recall: right answers / answerable queries  [%]',
        ylabel='precision: right / accepted  [%]', xlim=(-1, 102),
        ylim=(bottom, 100 + 0.06 * (100 - bottom)))
    compared = any(line.image for line in lines)
    if compared:
        axes.plot([], [], color=figures.SOFT, linewidth=2.2, label='decision over the walk')
        axes.plot([], [], color=figures.SOFT, linewidth=0.9, label='one image, by its similarity')
    figures.legend_below(axes, fontsize=8.5)
    marked = any(line.thresholds for line in lines)
    return figures.finish(
        'precision_recall.png', *described(
            'precision_recall', lines=lines, marked=marked, compared=compared), axes)


def marked_points(line: DecisionLine) -> list[tuple[str, float, float]]:
    """
    Return where thresholds for wanted precisions lie on the curve of the decision.

    :returns: wanted precisions in words, recall and precision in [0, 1]; those that lie together
        are one, those that accept nothing are left out
    """
    points: list[tuple[list[float], float, float]] = []
    for wanted, threshold in sorted(line.thresholds.items()):
        accepted = int((line.decision.thresholds >= threshold).sum())
        if not accepted:
            continue
        recall = float(line.decision.recall[accepted - 1])
        precision = float(line.decision.precision[accepted - 1])
        near = points and max(
            abs(points[-1][1] - recall), abs(points[-1][2] - precision)) < _TOGETHER / 100
        if near:
            points[-1][0].append(wanted)
        else:
            points.append(([wanted], recall, precision))
    return [(', '.join(f'{wanted:g}'.lstrip('0') for wanted in names), recall, precision)
            for names, recall, precision in points]


def reliability_plot(models: Sequence[tuple[str, Reliability]]) -> Plot:
    """
    Draw the share of right places over the confidence, and how many there are.

    :param models: label and reliability of each
    """
    figure = Figure(figsize=(figures.WIDTH_IN, 4.9 + LEGEND_IN * len(models)))
    upper, lower = figure.subplots(
        2, 1, sharex=True, height_ratios=(3.4, 1.0))
    for axes in (upper, lower):
        figures.style_axes(axes)
    upper.plot([0, 1], [0, 1], color=figures.WITHHELD, linewidth=1, linestyle='--')
    several = len(models) > 1
    for number, (label, found) in enumerate(models):
        look, bins = figures.line(number), found.bins
        sure, right = [each.confidence for each in bins], [each.right for each in bins]
        limits = [wilson(round(each.right * each.images), each.images) for each in bins]
        error = 'none' if found.error is None else f'{found.error:.3f}'
        upper.errorbar(
            sure, right, yerr=_bars(right, limits), **look, marker=figures.marker(number),
            markersize=5, capsize=2, elinewidth=0.9,
            label=f'{figures.shortened(label)}: calibration error {error}, {found.images} images')
        share = 0.9 / len(models)
        for each in bins:
            width = (each.high - each.low) * share
            left = each.low + (each.high - each.low) * (0.05 + number * share)
            lower.bar(left, each.images, width, align='edge', color=look['color'], linewidth=0)
            if not several:
                lower.annotate(
                    str(each.images), (left + width / 2, each.images), (0, 1),
                    textcoords='offset points', ha='center', fontsize=8, color=figures.SOFT)
    upper.set(ylabel='right  [share]', ylim=(-0.03, 1.05), xlim=(0, 1))
    most = max([each.images for _, found in models for each in found.bins], default=1)
    lower.set(xlabel='confidence in the believed place', ylabel='images', ylim=(0, 1.3 * most))
    if several:
        lower.set(yscale='symlog', ylim=(0, 2 * most))
    handles, labels = upper.get_legend_handles_labels()
    figures.legend_below(lower, handles=handles, labels=labels, fontsize=8.5)
    return figures.finish(
        'reliability.png', *described('reliability', models=[found for _, found in models]),
        upper)


def first_match_plot(models: Sequence[tuple[str, FirstMatches]]) -> Plot:
    """
    Draw the share of cold starts that had a match after so many images.

    :param models: label and cold starts of each, with a counted one
    """
    _, axes = figures.new_axes(3.6 + LEGEND_IN * len(models))
    longest = 1
    for number, (label, starts) in enumerate(models):
        counted, look = starts.counted, figures.line(number)
        taken = np.sort([each.images for each in counted if each.images is not None])
        wrong = sum(each.right is False for each in counted)
        never = len(counted) - len(taken)
        longest = max([longest, *taken.tolist()])
        ends = np.concatenate([[0], taken, [10 ** 6]])
        shares = 100 * np.concatenate([[0], np.arange(1, len(taken) + 1), [len(taken)]])
        median = 'no median' if starts.median is None else f'median {starts.median:g}'
        axes.step(
            ends, shares / max(1, len(counted)), where='post', **look,
            label=f'{figures.shortened(label)}: {median}; of {len(counted)} starts {never} '
            f'without a match, {wrong} with a wrong one first')
        if starts.median is not None:
            axes.plot(
                starts.median, 50, marker=figures.marker(number), markersize=8,
                color=look['color'], markeredgecolor='white', zorder=4)
    axes.axhline(50, color=figures.INK, linewidth=0.8, linestyle=':')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlabel='images from the cold start to the first accepted match',
        ylabel='cold starts that had one  [%]', xlim=(0, 1.12 * longest + 1), ylim=(0, 102))
    figures.legend_below(axes, fontsize=8.5)
    return figures.finish(
        'first_match.png', *described('first_match', starts=[found for _, found in models]),
        axes)


def _draw_curve(axes: Axes, curve: PrecisionRecallCurve, **look: Any) -> None:
    """Draw a curve from recall 0 on, where precision is that of the surest answers."""
    axes.plot(
        100 * np.append(0.0, curve.recall), 100 * np.append(curve.precision[:1], curve.precision)
        if len(curve.precision) else [np.nan], **look)


def _mark_thresholds(axes: Axes, line: DecisionLine, colour: str, *, named: bool) -> None:
    """Ring the thresholds for wanted precisions; of one model they are named."""
    for words, recall, precision in marked_points(line):
        axes.plot(
            100 * recall, 100 * precision, marker='o', markersize=8, color=colour,
            markerfacecolor='white', markeredgewidth=1.6, zorder=4)
        if named:
            axes.annotate(
                words, (100 * recall, 100 * precision), (9, -13), textcoords='offset points',
                ha='center', va='center', fontsize=8.5, color=colour,
                bbox={'facecolor': 'white', 'alpha': 0.85, 'linewidth': 0, 'pad': 0.8}, zorder=5)


def _draw_point(axes: Axes, line: DecisionLine, colour: str) -> None:
    """Draw where a model works, with its intervals."""
    recall, precision = line.accepted.recall, line.accepted.precision or 0.0
    axes.errorbar(
        100 * recall, 100 * precision,
        xerr=100 * _bars([recall], [line.recall_interval or Interval(recall, recall)]),
        yerr=100 * _bars([precision], [line.precision_interval or Interval(precision, precision)]),
        color=colour, marker='D', markersize=8, markeredgecolor='white', capsize=3,
        elinewidth=1.1, zorder=6)


def _bars(values: Sequence[float], intervals: Sequence[Interval]) -> FloatArray:
    """Return how far intervals reach below and above values, ``(2, N)``."""
    return np.maximum(0.0, [
        [value - each.low for value, each in zip(values, intervals)],
        [each.high - value for value, each in zip(values, intervals)]])
