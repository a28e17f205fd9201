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

"""The pictures of an evaluation: each model a colour and a line of its own."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.offline.reports.image_pairs import QueryGroup
from vpr_compressed.offline.reports.model_report import Report
from vpr_compressed.offline.reports.page import Plot
from vpr_compressed.offline.reports.similarity_plot import similarity_plot

# They differ for every common kind of colour vision, and in lightness on paper.
_COLOURS = ('#0b66c3', '#e2570e', '#1a936f', '#7b3fa0', '#b8860b', '#44546a')
_LINES = ('-', '--', '-.', ':')
_MARKERS = 'osD^vP'
#: Row of a legend below a plot, in inches.
_LEGEND_IN = 0.2
#: Letters of a name above an image.
_LETTERS = 28
_FRAMES = {'right': figures.RIGHT, 'wrong': figures.WRONG, 'solution': figures.ANSWER}


def draw(evaluation: Evaluation, gallery: Gallery) -> list[Plot]:
    """
    Return all plots, in the order a reader wants them.

    :param gallery: of one model it is drawn, of several the page shows it
    """
    reports = evaluation.reports
    curves = [recall_plot(reports), precision_recall_plot(reports)]
    if len(reports) == 1:
        return [
            *curves, similarity_plot(reports[0]), timeline_plot(reports[0]),
            *(pairs_plot(group, gallery) for group in gallery.groups)]
    return [
        cost_plot(reports), *curves, latency_plot(reports),
        *(similarity_plot(report, name=f'similarity_{number}.png', label=report.model.label)
          for number, report in enumerate(reports, start=1))]


def recall_plot(reports: Sequence[Report]) -> Plot:
    """Draw recall@N of all models."""
    figure, axes = figures.new_axes(3.8 + _LEGEND_IN * len(reports))
    curves = [100 * np.array(list(report.recall_curve.values())) for report in reports]
    for number, (report, curve) in enumerate(zip(reports, curves)):
        axes.plot(
            list(report.recall_curve), curve, **_line(number), marker=_marker(number),
            markersize=4, label=f'{report.model.label}: '
            + ', '.join(f'{value:.1%} @{n}' for n, value in report.recall.items()))
    axes.set(
        xlabel='N, places looked at per query', ylabel='recall@N  [%]',
        xlim=(0.5, max(reports[0].recall_curve) + 0.5), xticks=[1, 5, 10, 15, 20, 25],
        ylim=(min(50.0, 10 * np.floor(np.min(curves) / 10)), 102))
    figures.legend_below(axes, 0.18, fontsize=9.5)
    best, several = max(reports, key=lambda report: report.recall[1]), len(reports) > 1
    title = f'Recall@N: {best.model.label} is first with {best.recall[1]:.1%} at N = 1' if (
        several) else f'Recall@N: {best.recall[1]:.1%} of the queries have a right place first'
    figures.set_title(axes, title)
    intervals = [report.intervals['recall@1'] for report in reports]
    width = 100 * max(interval.high - interval.low for interval in intervals)
    return figures.finish('recall.png', title, (
        f'Share of the {reports[0].truth.answerable} queries with a right answer '
        f'({reports[0].truth.description}) that have one among the N most similar of '
        f'{len(reports[0].measurement.reference_names)} places. A line that starts high needs no '
        'second look; one that climbs late would gain from re-ranking. At N = 1 the 95 % '
        + (f'intervals are up to {width:.0f} points wide: whether two lines really differ is '
           'said by the paired comparison, not by their distance here.' if several else
           f'interval is {width:.0f} points wide.')), figure)


def precision_recall_plot(reports: Sequence[Report]) -> Plot:
    """Draw precision over recall of all models, with the points where they work."""
    figure, axes = figures.new_axes(4.4 + _LEGEND_IN * len(reports))
    for number, report in enumerate(reports):
        curve, accepted, line = report.curve, report.accepted, _line(number)
        full = curve.max_recall_at_full_precision
        share = 'accepts nothing' if accepted.precision is None else (
            f'accepts {accepted.accepted}, {accepted.precision:.0%} right')
        axes.plot(
            100 * np.append(0.0, curve.recall),
            100 * np.append(curve.precision[:1], curve.precision), **line,
            label=f'{report.model.label}: area {curve.area:.3f}, {full:.1%} without an error, '
            f'{share}')
        axes.axvline(100 * full, color=line['color'], linewidth=1, linestyle=':')
        if accepted.precision is not None:
            axes.plot(
                100 * accepted.recall, 100 * accepted.precision, marker='D', markersize=9,
                linestyle='none', color=line['color'], markeredgecolor='white')
    axes.set(
        xlabel='recall: right answers / answerable queries  [%]',
        ylabel='precision: right / accepted  [%]', xlim=(0, 102), ylim=(0, 104))
    figures.legend_below(axes, 0.15, fontsize=8.5)
    best = max(reports, key=lambda report: report.curve.area)
    title = 'Precision and recall: ' + (
        f'{best.model.label} has the largest area, {best.curve.area:.3f}' if len(reports) > 1 else
        f'area {best.curve.area:.3f}')
    figures.set_title(axes, title)
    return figures.finish('precision_recall.png', title, (
        'Lowering the threshold on the similarity accepts more answers (to the right) and more '
        'wrong ones (down). A dotted line is the largest recall without an error. A diamond is '
        'where the recogniser works with its own threshold and with agreement of several frames; '
        'above the line, agreement over time is worth more than any threshold on one image. '
        'A model without a diamond accepted nothing.'), figure)


def cost_plot(reports: Sequence[Report]) -> Plot:
    """Draw recall@1 against size, time and memory."""
    figure = Figure(figsize=(figures.WIDTH_IN, 3.3 + _LEGEND_IN * len(reports)))
    panels: list[tuple[str, Callable[[Report], float]]] = [
        ('model file  [MB]', lambda report: report.model.file_bytes / 1e6),
        ('time, p50  [ms]', lambda report: report.latency_ms['p50']),
        ('memory  [MB]', lambda report: report.observation.model_resident_bytes / 1e6)]
    first = figure.add_subplot(1, 3, 1)
    for place, (name, cost) in enumerate(panels, start=1):
        axes = first if place == 1 else figure.add_subplot(1, 3, place, sharey=first)
        figures.style_axes(axes)
        for number, report in enumerate(reports):
            interval, recall = report.intervals['recall@1'], 100 * report.recall[1]
            axes.errorbar(
                cost(report), recall,
                yerr=[[max(0.0, recall - 100 * interval.low)],
                      [max(0.0, 100 * interval.high - recall)]],
                color=_line(number)['color'], marker=_marker(number), markersize=7, capsize=3,
                linewidth=1.2, linestyle='none', label=f'{report.model.label}: '
                '{:.2f} MB, {:.1f} ms, {:.0f} MB of memory'.format(
                    *(each(report) for _, each in panels)))
        axes.set_xlabel(name, fontsize=8.5)
        axes.tick_params(labelsize=8.5, labelleft=place == 1)
        _widen(axes, [cost(report) for report in reports])
    first.set_ylabel('recall@1  [%]')
    # The legend is wider than its panel.
    figures.legend_below(first, 0.24, left=-0.25, fontsize=9).set_in_layout(False)
    title = 'Accuracy and its cost: up and to the left is better'
    figures.set_title(figure, title)
    return figures.finish('costs.png', title, (
        'A point is a model, its bar the 95 % bootstrap interval of recall@1, over the size of '
        'the file, the time from image to answer, and the memory that model and engine add. Each '
        'ran in a process of its own, one after the other: what else the computer did meanwhile '
        'is in the milliseconds ("vpr_compressed benchmark" times models in turns).'),
        figure, head_in=0.3, foot_in=0.1 + _LEGEND_IN * len(reports))


def latency_plot(reports: Sequence[Report]) -> Plot:
    """Draw the share of queries answered within a time, for several models."""
    figure, axes = figures.new_axes(3.4 + _LEGEND_IN * len(reports))
    for number, report in enumerate(reports):
        times = np.sort([query.inference_ms + query.search_ms
                         for query in report.measurement.queries])
        axes.step(
            times, 100 * np.arange(1, len(times) + 1) / len(times), where='post', **_line(number),
            label=f'{report.model.label} ({report.model.engine}): ' + ', '.join(
                f'{name} {value:.1f} ms' for name, value in report.latency_ms.items()))
    axes.set(
        xlabel='time from decoded image to answer  [ms]', ylabel='queries answered  [%]',
        xlim=(0, 1.6 * max(report.latency_ms['p95'] for report in reports)), ylim=(0, 102))
    figures.legend_below(axes, 0.2, fontsize=9)
    fastest = min(reports, key=lambda report: report.latency_ms['p50'])
    title = (f'Time from image to answer: {fastest.model.label} is fastest, half within '
             f'{fastest.latency_ms["p50"]:.1f} ms')
    figures.set_title(axes, title)
    machine, busy = reports[0].setting['machine'], [
        report.observation.others_cores for report in reports
        if report.observation.others_cores is not None]
    return figures.finish('latency.png', title, (
        f'Share of the queries answered within a time, on {machine["processor"]}. A steep line is '
        'a steady model; a tail to the right is mostly other programs, which kept '
        + (f'{min(busy):.1f} to {max(busy):.1f}' if busy else 'an unknown number')
        + f' of the {machine["cores"]} cores busy meanwhile. The axis ends at 1.6 times the '
        'largest p95.'), figure)


def timeline_plot(report: Report) -> Plot:
    """Draw how long each query took, for one model."""
    figure, axes = figures.new_axes(3.2)
    queries = report.measurement.queries
    places, bottom = np.arange(len(queries)), np.zeros(len(queries))
    for name, colour, times in (
            ('network', figures.PALE, [query.inference_ms for query in queries]),
            ('search and agreement', figures.WRONG, [query.search_ms for query in queries])):
        axes.fill_between(places, bottom, bottom + times, color=colour, label=name, step='mid',
                          linewidth=0)
        bottom = bottom + times
    for name in ('p50', 'p95'):
        value = report.latency_ms[name]
        axes.axhline(value, color=figures.INK, linewidth=1, linestyle=':')
        axes.annotate(
            f'{name} {value:.1f} ms', (len(queries) - 1, value), (-2, 3),
            textcoords='offset points', ha='right', fontsize=9, color=figures.INK,
            bbox={'facecolor': 'white', 'alpha': 0.8, 'linewidth': 0, 'pad': 1.5})
    axes.set(xlabel='query: index', ylabel='time  [ms]', ylim=(0, 1.6 * report.latency_ms['p95']))
    axes.legend(
        loc='upper left', fontsize=9, ncol=2, framealpha=0.85, edgecolor='none', borderpad=0.2)
    title = f'Time from decoded image to answer: half within {report.latency_ms["p50"]:.1f} ms'
    figures.set_title(axes, title)
    return figures.finish('latency.png', title, (
        f'Wall time of each query on {report.setting["machine"]["processor"]} '
        f'({report.setting["engine"]}). The axis ends at 1.6 times the 95th percentile; spikes '
        'beyond it are mostly other programs on this computer.'), figure)


def pairs_plot(group: QueryGroup, gallery: Gallery) -> Plot:
    """Draw queries, a row each, beside what was found for them."""
    rows = [each.tiles for each in group.queries]
    columns = max([2, *map(len, rows)])
    cell, shape = figures.WIDTH_IN / columns, gallery.image(rows[0][0]).shape if rows else (3, 4)
    height = max(1, len(rows)) * (0.95 * cell * shape[0] / shape[1] + 0.26) + 0.45
    figure = Figure(figsize=(figures.WIDTH_IN, height))
    figures.set_title(figure, group.title)
    if not rows:
        figure.text(0.5, 0.4, 'none', ha='center', fontsize=12, color=figures.WITHHELD)
    for number, tiles in enumerate(rows):
        for place, tile in enumerate(tiles, start=1):
            axes = figure.add_subplot(len(rows), columns, number * columns + place)
            axes.imshow(gallery.image(tile), interpolation='antialiased')
            axes.set(xticks=[], yticks=[])
            colour = _FRAMES.get(tile.kind, figures.INK)
            axes.set_title(short(tile.text), fontsize=8.5, color=colour, loc='left', pad=3)
            axes.spines[:].set(color=colour, linewidth=2)
    # Photographs need fewer pixels than lines.
    return figures.finish(group.name, group.title, group.caption, figure, dpi=120, head_in=0.16)


def short(text: str) -> str:
    """Return the text of a tile with the end of a long name, which tells files apart."""
    head, _, name = text.partition(': ')
    return text if len(name) <= _LETTERS else f'{head}: ...{name[3 - _LETTERS:]}'


def _line(number: int) -> dict[str, Any]:
    """Return colour, dashes and width of a model's line."""
    return {'color': _COLOURS[number % len(_COLOURS)], 'linewidth': 1.8,
            'linestyle': _LINES[number // len(_COLOURS) % len(_LINES)]}


def _marker(number: int) -> str:
    """Return the marker of a model."""
    return _MARKERS[number % len(_MARKERS)]


def _widen(axes: Axes, values: list[float]) -> None:
    """Start an axis of costs at zero, or make it logarithmic where models are far apart."""
    low, high = min(values), max(values)
    if low > 0 and high > 10 * low:
        axes.set(xscale='log', xlim=(low / 1.6, high * 1.6))
    else:
        axes.set(xlim=(0, 1.2 * high or 1.0))
