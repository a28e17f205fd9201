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

"""The pictures of several models on the same recordings: each a colour and a line of its own."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from vpr_compressed.offline.reports.comparison import Evaluation
from vpr_compressed.offline.reports.figures import finish
from vpr_compressed.offline.reports.figures import INK
from vpr_compressed.offline.reports.figures import new_axes
from vpr_compressed.offline.reports.figures import Plot
from vpr_compressed.offline.reports.figures import set_title
from vpr_compressed.offline.reports.figures import style_axes
from vpr_compressed.offline.reports.figures import WIDTH_IN
from vpr_compressed.offline.reports.similarity_plot import similarity_plot
from vpr_compressed.offline.reports.summary import Report

# They differ for every common kind of colour vision, and in lightness on paper.
_COLOURS = ('#0b66c3', '#e2570e', '#1a936f', '#7b3fa0', '#b8860b', '#44546a')
_LINES = ('-', '--', '-.', ':')
_MARKERS = 'osD^vP'
#: Rows of a legend below a plot, in inches.
_LEGEND_IN = 0.2


def draw(evaluation: Evaluation) -> list[Plot]:
    """Return all plots, in the order a reader wants them."""
    return [
        cost_plot(evaluation), recall_plot(evaluation), precision_recall_plot(evaluation),
        latency_plot(evaluation),
        *(similarity_plot(report, name=f'similarity_{number}.png', label=report.model.label)
          for number, report in enumerate(evaluation.reports, start=1))]


def look(number: int) -> tuple[str, str, str]:
    """Return colour, line and marker of a model."""
    return (_COLOURS[number % len(_COLOURS)],
            _LINES[number // len(_COLOURS) % len(_LINES)], _MARKERS[number % len(_MARKERS)])


def recall_plot(evaluation: Evaluation) -> Plot:
    """Draw recall@N of all models."""
    reports = evaluation.reports
    figure, axes = new_axes(3.8 + _LEGEND_IN * len(reports))
    lowest = 100.0
    for number, report in enumerate(reports):
        colour, line, marker = look(number)
        values = [100 * recall for recall in report.recall_curve.values()]
        lowest = min(lowest, *values)
        axes.plot(
            list(report.recall_curve), values, color=colour, linestyle=line, marker=marker,
            markersize=4, linewidth=1.8, label=f'{report.model.label}: '
            + ', '.join(f'{value:.1%} @{n}' for n, value in report.recall.items()))
    axes.set(
        xlabel='N, places looked at per query', ylabel='recall@N  [%]',
        xlim=(0.5, max(reports[0].recall_curve) + 0.5), xticks=[1, 5, 10, 15, 20, 25],
        ylim=(min(50.0, 10 * np.floor(lowest / 10)), 102))
    axes.legend(
        loc='upper left', bbox_to_anchor=(0.0, -0.18), frameon=False, fontsize=9.5)
    best = max(reports, key=lambda report: report.recall[1])
    title = f'Recall@N: {best.model.label} is first with {best.recall[1]:.1%} at N = 1'
    set_title(axes, title)
    width = 100 * max(report.intervals['recall@1'].high - report.intervals['recall@1'].low
                      for report in reports)
    return finish('recall.png', title, (
        f'Share of the {reports[0].truth.answerable} queries with a right answer '
        f'({reports[0].truth.description}) that have one among the N most similar places. At '
        f'N = 1 the 95 % intervals are up to {width:.0f} points wide: whether two lines really '
        'differ is said by the paired comparison, not by their distance here.'), figure)


def precision_recall_plot(evaluation: Evaluation) -> Plot:
    """Draw precision over recall of all models, with the points where they work."""
    reports = evaluation.reports
    figure, axes = new_axes(4.4 + _LEGEND_IN * len(reports))
    for number, report in enumerate(reports):
        colour, line, _ = look(number)
        curve, accepted = report.curve, report.accepted
        share = 'accepts nothing' if accepted.precision is None else (
            f'accepts {accepted.accepted}, {accepted.precision:.0%} right')
        axes.plot(
            100 * np.append(0.0, curve.recall),
            100 * np.append(curve.precision[:1], curve.precision), color=colour, linestyle=line,
            linewidth=1.8, label=f'{report.model.label}: area {curve.area:.3f}, '
            f'{curve.max_recall_at_full_precision:.1%} without an error, {share}')
        if accepted.precision is not None:
            axes.plot(
                100 * accepted.recall, 100 * accepted.precision, marker='D', markersize=9,
                linestyle='none', color=colour, markeredgecolor='white')
    axes.set(
        xlabel='recall: right answers / answerable queries  [%]',
        ylabel='precision: right / accepted  [%]', xlim=(0, 102), ylim=(0, 104))
    axes.legend(
        loc='upper left', bbox_to_anchor=(0.0, -0.15), frameon=False, fontsize=8.5)
    best = max(reports, key=lambda report: report.curve.area)
    title = f'Precision and recall: {best.model.label} has the largest area, {best.curve.area:.3f}'
    set_title(axes, title)
    return finish('precision_recall.png', title, (
        'Lowering the threshold on the similarity accepts more answers (to the right) and more '
        'wrong ones (down). A diamond is where the recogniser works with its own threshold and '
        'with agreement of several frames; a model without one accepted nothing.'), figure)


def cost_plot(evaluation: Evaluation) -> Plot:
    """Draw recall@1 against size, time and memory."""
    reports = evaluation.reports
    figure = Figure(figsize=(WIDTH_IN, 3.3 + _LEGEND_IN * len(reports)))
    panels: list[tuple[str, Callable[[Report], float]]] = [
        ('model file  [MB]', lambda report: report.model_bytes / 1e6),
        ('time, p50  [ms]', lambda report: report.latency_ms['p50']),
        ('memory  [MB]', lambda report: report.model_resident_bytes / 1e6)]
    first = None
    for place, (name, cost) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, 3, place, sharey=first)
        first = first or axes
        style_axes(axes)
        for number, report in enumerate(reports):
            colour, _, marker = look(number)
            interval, recall = report.intervals['recall@1'], 100 * report.recall[1]
            axes.errorbar(
                cost(report), recall,
                yerr=[[max(0.0, recall - 100 * interval.low)],
                      [max(0.0, 100 * interval.high - recall)]],
                color=colour, marker=marker, markersize=7, capsize=3, linewidth=1.2,
                linestyle='none', label=f'{report.model.label}: {report.model_bytes / 1e6:.2f} '
                f'MB, {report.latency_ms["p50"]:.1f} ms, '
                f'{report.model_resident_bytes / 1e6:.0f} MB of memory')
        axes.set_xlabel(name, fontsize=8.5)
        axes.tick_params(labelsize=8.5, labelleft=place == 1)
        _widen(axes, [cost(report) for report in reports])
    assert first is not None  # noqa: S101  (there are three panels)
    first.set_ylabel('recall@1  [%]')
    legend = first.legend(
        loc='upper left', bbox_to_anchor=(-0.25, -0.24), frameon=False, fontsize=9)
    legend.set_in_layout(False)  # it is wider than its panel
    title = 'Accuracy and its cost: up and to the left is better'
    figure.suptitle(title, x=0.012, ha='left', fontsize=12, weight='bold', color=INK)
    return finish('costs.png', title, (
        'A point is a model, its bar the 95 % bootstrap interval of recall@1, over the size of '
        'the file, the time from image to answer, and the memory that model and engine add. Each '
        'ran in a process of its own, one after the other: what else the computer did meanwhile '
        'is in the milliseconds ("vpr_compressed benchmark" times models in turns).'),
        figure, head_in=0.3, foot_in=0.1 + _LEGEND_IN * len(reports))


def latency_plot(evaluation: Evaluation) -> Plot:
    """Draw the share of queries answered within a time."""
    reports = evaluation.reports
    figure, axes = new_axes(3.4 + _LEGEND_IN * len(reports))
    for number, report in enumerate(reports):
        colour, line, _ = look(number)
        times = np.sort([query.inference_ms + query.search_ms
                         for query in report.measurement.queries])
        share = 100 * np.arange(1, len(times) + 1) / len(times)
        axes.step(
            times, share, where='post', color=colour, linestyle=line, linewidth=1.8,
            label=f'{report.model.label} ({report.model.engine}): ' + ', '.join(
                f'{name} {value:.1f} ms' for name, value in report.latency_ms.items()))
    axes.set(
        xlabel='time from decoded image to answer  [ms]', ylabel='queries answered  [%]',
        xlim=(0, 1.6 * max(report.latency_ms['p95'] for report in reports)), ylim=(0, 102))
    axes.legend(
        loc='upper left', bbox_to_anchor=(0.0, -0.2), frameon=False, fontsize=9)
    fastest = min(reports, key=lambda report: report.latency_ms['p50'])
    title = (f'Time from image to answer: {fastest.model.label} is fastest, half within '
             f'{fastest.latency_ms["p50"]:.1f} ms')
    set_title(axes, title)
    return finish('latency.png', title, (
        f'Share of the queries answered within a time, on '
        f'{reports[0].setting["machine"]["processor"]}. A steep line is a steady model; a tail to '
        f'the right is mostly other programs, which kept {_busy(reports)} of the '
        f'{reports[0].setting["machine"]["cores"]} cores busy meanwhile. The axis ends at 1.6 '
        'times the largest p95.'),
        figure)


def _busy(reports: Sequence[Report]) -> str:
    """Return how many cores other programs used while the models were measured."""
    cores = [report.observation.others_cores for report in reports
             if report.observation.others_cores is not None]
    return f'{min(cores):.1f} to {max(cores):.1f}' if cores else 'an unknown number'


def _widen(axes: Axes, values: list[float]) -> None:
    """Start an axis of costs at zero, or make it logarithmic where models are far apart."""
    low, high = min(values), max(values)
    if low > 0 and high > 10 * low:
        axes.set(xscale='log', xlim=(low / 1.6, high * 1.6))
    else:
        axes.set(xlim=(0, 1.2 * high or 1.0))
