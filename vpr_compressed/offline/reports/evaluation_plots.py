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

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.measuring.recognition_run import latencies_ms
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.decision_plots import LEGEND_IN
from vpr_compressed.offline.reports.decision_views import DecidedWalk
from vpr_compressed.offline.reports.decision_views import draw_decisions
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.offline.reports.image_pairs import QueryGroup
from vpr_compressed.offline.reports.page import described
from vpr_compressed.offline.reports.page import Plot

#: Letters of a name above an image.
_LETTERS = 28
#: Rows and columns of a similarity matrix that are drawn at most; a picture has about so many
#: pixels.
LIMIT = 1000
_FRAMES = {'right': figures.RIGHT, 'wrong': figures.WRONG, 'solution': figures.ANSWER}


def draw(evaluation: Evaluation, gallery: Gallery) -> list[Plot]:
    """
    Return all plots, in the order a reader wants them.

    :param gallery: of one model it is drawn, of several the page shows it
    """
    reports = evaluation.reports
    decided = draw_decisions([
        DecidedWalk(
            label=report.model.label, queries=report.measurement.queries, truth=report.truth,
            decision=report.decision, image=report.curve)
        for report in reports])
    if len(reports) == 1:
        return [
            *decided, recall_plot(reports), similarity_plot(reports[0]),
            timeline_plot(reports[0]), *(pairs_plot(group, gallery) for group in gallery.groups)]
    return [
        *decided, cost_plot(reports), recall_plot(reports), latency_plot(reports),
        *(similarity_plot(report, name=f'similarity_{number}.png', label=report.model.label)
          for number, report in enumerate(reports, start=1))]


def recall_plot(reports: Sequence[Report]) -> Plot:
    """Draw recall@N of all models."""
    _, axes = figures.new_axes(3.8 + LEGEND_IN * len(reports))
    curves = [100 * np.array(list(report.recall_curve.values())) for report in reports]
    for number, (report, curve) in enumerate(zip(reports, curves)):
        axes.plot(
            list(report.recall_curve), curve, **figures.line(number),
            marker=figures.marker(number), markersize=4,
            label=f'{figures.shortened(report.model.label)}: ' + ', '.join(
                f'{value:.1%} @{n}' for n, value in report.recall.items()))
    axes.set(
        xlabel='N, places looked at per query', ylabel='recall@N  [%]',
        xlim=(0.5, max(reports[0].recall_curve) + 0.5), xticks=[1, 5, 10, 15, 20, 25],
        ylim=(min(50.0, 10 * np.floor(np.min(curves) / 10)), 102))
    figures.legend_below(axes, fontsize=9.5)
    width = 100 * max(
        each.intervals['recall@1'].high - each.intervals['recall@1'].low for each in reports)
    return figures.finish(
        'recall.png', *described('recall', reports=reports, width=width), axes)


def cost_plot(reports: Sequence[Report]) -> Plot:
    """Draw recall@1 against size, time and memory."""
    figure = Figure(figsize=(figures.WIDTH_IN, 3.3 + LEGEND_IN * len(reports)))
    panels: list[tuple[str, Callable[[Report], float]]] = [
        ('model file  [MB]', lambda report: report.model.file_bytes / 1e6),
        ('time, p50  [ms]', lambda report: report.latency_ms['p50']),
        ('memory  [MB]', lambda report: report.observation.model_resident_bytes / 1e6)]
    every = figure.subplots(1, len(panels), sharey=True)
    for axes, (name, cost) in zip(every, panels):
        figures.style_axes(axes)
        for number, report in enumerate(reports):
            interval, recall = report.intervals['recall@1'], 100 * report.recall[1]
            axes.errorbar(
                cost(report), recall,
                yerr=[[max(0.0, recall - 100 * interval.low)],
                      [max(0.0, 100 * interval.high - recall)]],
                color=figures.line(number)['color'], marker=figures.marker(number), markersize=7,
                capsize=3, linewidth=1.2, linestyle='none',
                label=f'{figures.shortened(report.model.label)}: '
                '{:.2f} MB, {:.1f} ms, {:.0f} MB of memory'.format(
                    *(each(report) for _, each in panels)))
        axes.set_xlabel(name, fontsize=8.5)
        axes.tick_params(labelsize=8.5)
        _widen(axes, [cost(report) for report in reports])
    every[0].set_ylabel('recall@1  [%]')
    # The legend is wider than its panel.
    figures.legend_below(every[0], left=-0.25, fontsize=9).set_in_layout(False)
    return figures.finish('costs.png', *described('costs'), figure, head_in=0.3,
                          foot_in=0.1 + LEGEND_IN * len(reports))


def latency_plot(reports: Sequence[Report]) -> Plot:
    """Draw the share of queries answered within a time, for several models."""
    _, axes = figures.new_axes(3.4 + LEGEND_IN * len(reports))
    for number, report in enumerate(reports):
        times = np.sort(latencies_ms(report.measurement.queries))
        axes.step(
            times, 100 * np.arange(1, len(times) + 1) / len(times), where='post',
            **figures.line(number),
            label=f'{figures.shortened(report.model.label)} ({report.model.engine}): ' + ', '.join(
                f'{name} {value:.1f} ms' for name, value in report.latency_ms.items()))
    axes.set(
        xlabel='time from decoded image to answer  [ms]', ylabel='queries answered  [%]',
        xlim=(0, 1.6 * max(report.latency_ms['p95'] for report in reports)), ylim=(0, 102))
    figures.legend_below(axes, fontsize=9)
    return figures.finish('latency.png', *described('latency', reports=reports), axes)


def timeline_plot(report: Report) -> Plot:
    """Draw how long each query took, for one model."""
    _, axes = figures.new_axes(3.2)
    queries = report.measurement.queries
    axes.stackplot(
        np.arange(len(queries)), [each.inference_ms for each in queries],
        [each.search_ms for each in queries], labels=('network', 'search and decision'),
        colors=(figures.PALE, figures.WRONG), step='mid', linewidth=0)
    for name in ('p50', 'p95'):
        value = report.latency_ms[name]
        axes.axhline(value, color=figures.INK, linewidth=1, linestyle=':')
        axes.annotate(
            f'{name} {value:.1f} ms', (len(queries) - 1, value), (-2, 3),
            textcoords='offset points', ha='right', fontsize=9, color=figures.INK,
            bbox={'facecolor': 'white', 'alpha': 0.8, 'linewidth': 0, 'pad': 1.5})
    axes.set(
        xlabel='query: number in the walk', ylabel='time  [ms]',
        ylim=(0, 1.6 * report.latency_ms['p95']))
    axes.legend(
        loc='upper left', fontsize=9, ncol=2, framealpha=0.85, edgecolor='none', borderpad=0.2)
    return figures.finish('latency.png', *described('timeline', report=report), axes)


def pairs_plot(group: QueryGroup, gallery: Gallery) -> Plot:
    """Draw queries, a row each, beside what was found for them."""
    rows = [each.tiles for each in group.queries]
    columns = max([2, *map(len, rows)])
    cell, shape = figures.WIDTH_IN / columns, gallery.image(rows[0][0]).shape if rows else (3, 4)
    height = max(1, len(rows)) * (0.95 * cell * shape[0] / shape[1] + 0.26) + 0.45
    figure = Figure(figsize=(figures.WIDTH_IN, height))
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


def similarity_plot(report: Report, *, name: str = 'similarity.png', label: str = '') -> Plot:
    """
    Draw all similarities with the right answers and the accepted matches.

    :param name: of the file
    :param label: which model it is, where there are several
    """
    matrix, truth = similarity_matrix(report), truth_matrix(report)
    _, rows, columns = _blocks(report, LIMIT, 0.0)
    queries, places = matrix.shape[0] * rows, matrix.shape[1] * columns
    height = float(np.clip(figures.WIDTH_IN * 0.82 * queries / max(places, 1), 3.2, 7.5)) + 0.9
    figure, axes = figures.new_axes(height)
    low, high = np.nanpercentile(matrix, [2, 99.8])
    shown = axes.imshow(
        matrix, cmap=figures.HEAT, vmin=low, vmax=max(high, low + 1e-6), aspect='auto',
        interpolation='nearest', extent=(-0.5, places - 0.5, queries - 0.5, -0.5))
    if min(truth.shape) > 1:  # one query or place alone has no outline
        axes.contour(
            np.arange(truth.shape[1]) * columns + (columns - 1) / 2,
            np.arange(truth.shape[0]) * rows + (rows - 1) / 2, truth.astype(float), levels=[0.5],
            colors=[figures.ANSWER], linewidths=0.9)
    _scatter_matches(axes, report)
    axes.set(xlabel='place: index in the reference', ylabel='query: number in the walk')
    axes.grid(False)
    figure.colorbar(shown, ax=axes, label='cosine similarity', fraction=0.04, pad=0.02)
    axes.plot([], [], 's', color='none', markeredgecolor=figures.ANSWER, label='right answers')
    figures.legend_below(axes, ncol=3, fontsize=9)
    return figures.finish(name, *described(
        'similarity', label=label, accepted=report.accepted, rows=rows, columns=columns), axes)


def similarity_matrix(report: Report, limit: int = LIMIT) -> FloatArray:
    """
    Return the similarity of every query to every place, NaN where none was ranked.

    :param limit: with more queries or places, an entry is the largest similarity of a block
    :returns: ``(Q, R)`` or smaller
    """
    measured = report.measurement
    matrix, rows, columns = _blocks(report, limit, -np.inf)
    for query, places in enumerate(measured.rows):
        known = places >= 0
        np.maximum.at(
            matrix[query // rows], places[known] // columns, measured.similarities[query, known])
    return np.where(np.isfinite(matrix), matrix, np.nan)


def truth_matrix(report: Report, limit: int = LIMIT) -> NDArray[np.bool_]:
    """Return where right answers are, in the entries of :func:`similarity_matrix`."""
    truth, rows, columns = _blocks(report, limit, 0.0)
    for query, places in enumerate(report.truth.positives):
        truth[query // rows, [place // columns for place in places]] = 1.0
    return truth > 0


def _blocks(report: Report, limit: int, value: float) -> tuple[FloatArray, int, int]:
    """Return a matrix of one value, and how many queries and places an entry stands for."""
    measured = report.measurement
    counts = len(measured.queries), len(measured.reference_names)
    rows, columns = (-(-count // limit) for count in counts)
    return np.full((-(-counts[0] // rows), -(-counts[1] // columns)), value), rows, columns


def _scatter_matches(axes: Axes, report: Report) -> None:
    """Mark the accepted matches that are right or wrong, and name the marks."""
    for verdict, colour, size in (('right', figures.RIGHT, 9), ('wrong', figures.WRONG, 22)):
        axes.plot([], [], 'o', color=colour, markersize=5, label=f'accepted, {verdict}')
        points = [
            (query.match_row, number) for number, query in enumerate(report.measurement.queries)
            if report.verdict(number) == verdict]
        if points:
            x, y = zip(*points)
            area = max(2.0, size * min(1.0, 300 / len(points)))
            axes.scatter(x, y, s=area, color=colour, linewidths=0, zorder=3)


def _widen(axes: Axes, values: list[float]) -> None:
    """Start an axis of costs at zero, or make it logarithmic where models are far apart."""
    low, high = min(values), max(values)
    if low > 0 and high > 10 * low:
        axes.set(xscale='log', xlim=(low / 1.6, high * 1.6))
    else:
        axes.set(xlim=(0, 1.2 * high or 1.0))
