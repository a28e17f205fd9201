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

"""The similarity matrix of a report, drawn so that also large ones fit into memory."""

from __future__ import annotations

from matplotlib.axes import Axes
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.model_report import Report
from vpr_compressed.offline.reports.page import Plot

#: Rows and columns that are drawn at most; a picture has about so many pixels.
LIMIT = 1000


def similarity_plot(report: Report, *, name: str = 'similarity.png', label: str = '') -> Plot:
    """
    Draw all similarities with the right answers and the accepted matches.

    :param name: of the file
    :param label: which model it is, where there are several
    """
    matrix, truth = similarity_matrix(report), truth_matrix(report)
    rows, columns = _blocks(report, LIMIT)
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
    axes.set(xlabel='place: index in the reference', ylabel='query: index')
    axes.grid(False)
    figure.colorbar(shown, ax=axes, label='cosine similarity', fraction=0.04, pad=0.02)
    axes.plot([], [], 's', color='none', markeredgecolor=figures.ANSWER, label='right answers')
    figures.legend_below(axes, 0.14 * 5 / height, ncol=3, fontsize=9)
    accepted = report.accepted
    title = 'Similarity matrix' + (f' of {label}' if label else '') + (
        ': no match accepted' if not accepted.accepted else
        f': {accepted.accepted} {"" if label else "matches "}accepted, '
        f'{accepted.accepted - accepted.correct} wrong')
    figures.set_title(axes, title)
    pooled = '' if rows == columns == 1 else (
        f'Each entry is the largest similarity of {rows} queries and {columns} places. ')
    return figures.finish(name, title, pooled + (
        'Dark is similar. A dark line inside the outlined band of right answers is a route that '
        'is recognised; dark patches elsewhere are places that look alike. Dots are the answers '
        'the recogniser accepted; a query without a dot was withheld.'), figure)


def similarity_matrix(report: Report, limit: int = LIMIT) -> FloatArray:
    """
    Return the similarity of every query to every place, NaN where none was ranked.

    :param limit: with more queries or places, an entry is the largest similarity of a block
    :returns: ``(Q, R)`` or smaller
    """
    measured = report.measurement
    rows, columns = _blocks(report, limit)
    matrix = np.full((_parts(len(measured.queries), rows),
                      _parts(len(measured.reference_names), columns)), -np.inf)
    for query, places in enumerate(measured.rows):
        known = places >= 0
        np.maximum.at(
            matrix[query // rows], places[known] // columns, measured.similarities[query, known])
    return np.where(np.isfinite(matrix), matrix, np.nan)


def truth_matrix(report: Report, limit: int = LIMIT) -> NDArray[np.bool_]:
    """Return where right answers are, in the entries of :func:`similarity_matrix`."""
    rows, columns = _blocks(report, limit)
    truth = np.zeros((_parts(len(report.measurement.queries), rows),
                      _parts(len(report.measurement.reference_names), columns)), np.bool_)
    for query, places in enumerate(report.truth.positives):
        truth[query // rows, [place // columns for place in places]] = True
    return truth


def _blocks(report: Report, limit: int) -> tuple[int, int]:
    """Return how many queries and places one entry stands for."""
    measured = report.measurement
    return (_parts(len(measured.queries), limit), _parts(len(measured.reference_names), limit))


def _parts(count: int, size: int) -> int:
    """Return how many parts of a size a count needs, at least 1."""
    return max(1, -(-count // size))


def _scatter_matches(axes: Axes, report: Report) -> None:
    """Mark the accepted matches that are right or wrong, and name the marks."""
    for wanted, colour, size in ((True, figures.RIGHT, 9), (False, figures.WRONG, 22)):
        axes.plot([], [], 'o', color=colour, markersize=5,
                  label=f'accepted, {"right" if wanted else "wrong"}')
        points = [
            (query.match_row, number) for number, query in enumerate(report.measurement.queries)
            if query.match_row is not None and not (
                report.truth.junk and query.match_row in report.truth.junk[number])
            and (query.match_row in report.truth.positives[number]) == wanted]
        if points:
            x, y = zip(*points)
            area = max(2.0, size * min(1.0, 300 / len(points)))
            axes.scatter(x, y, s=area, color=colour, linewidths=0, zorder=3)
