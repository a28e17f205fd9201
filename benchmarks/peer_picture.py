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


"""The picture of :mod:`benchmarks.peers`: recall@1 against bytes per place and against time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peer_page import mean_recall
from benchmarks.peer_page import Row
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vpr_compressed.offline.reports.figures import finish
from vpr_compressed.offline.reports.figures import INK
from vpr_compressed.offline.reports.figures import RIGHT
from vpr_compressed.offline.reports.figures import style_axes
from vpr_compressed.offline.reports.figures import WIDTH_IN
from vpr_compressed.offline.reports.figures import WITHHELD

_FONT, _DPI = 7.5, 160
#: Where a label may stand: beside its point, above, below, and further away.
_PLACES = [(6.0 * side, 9.0 * step) for step in (0, 1, -1, 2, -2, 3, -3, 4, -4)
           for side in (1, -1)]


def as_picture(found: Row) -> bytes:
    """Return the picture as PNG."""
    panels: list[tuple[str, Callable[[Row], float]]] = [
        ('bytes a place in the map (logarithmic)', lambda row: float(row['bytes_per_place']))]
    if all('cost' in row for row in found['methods']):
        panels.append((
            f'milliseconds from a decoded {found["camera"]} image to its descriptor, median '
            '(logarithmic)', lambda row: float(row['cost']['describe_ms_p50'])))
    figure = Figure(figsize=(WIDTH_IN + 1.0, 3.9 * len(panels)), dpi=_DPI)
    sets = len(found['methods'][0]['sets'])
    for number, (label, value) in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, number + 1)
        style_axes(axes)
        axes.set_xscale('log')
        values = [value(row) for row in found['methods']]
        axes.set(xlabel=label, ylabel='recall@1  [%]', xlim=(min(values) / 4, max(values) * 5))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        recall = [100 * mean_recall(row) for row in found['methods']]
        axes.set_ylim(max(0.0, min(recall) - 8), min(104.0, max(recall) + 8))
        for x, y, row in zip(values, recall, found['methods'], strict=True):
            axes.plot(x, y, 'o', markersize=8 if row['ours'] else 5,
                      color=RIGHT if row['ours'] else WITHHELD)
    # The labels go where they find room, so the axes must have their final size.
    figure.tight_layout(pad=0.6)
    for axes, (_, value) in zip(figure.axes, panels, strict=True):
        _label(figure, axes, [
            (value(row), 100 * mean_recall(row), row) for row in found['methods']])
    queries = 'one set' if sets == 1 else f'mean of {sets} sets'
    return finish('peers.png', '', (
        f'recall@1 ({queries}); up and to the left is better. Blue are the packaged models, grey '
        'what a user would take instead. Peers are kept as float32, ours as int8. A difference '
        'of 2 points is within chance.'), figure).png(caption=True)


def _label(figure: Figure, axes: Axes, points: list[tuple[float, float, Row]]) -> None:
    """Write the names beside their points, none over another or over a point."""
    scale = figure.dpi / 72.0
    pixels = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in pixels]
    for (x, y), (at_x, at_y, row) in zip(pixels, points, strict=True):
        name = str(row['name'])
        width, height = 0.56 * _FONT * scale * len(name), 1.15 * _FONT * scale

        def box(place: tuple[float, float], x: float = x, y: float = y, width: float = width,
                height: float = height) -> tuple[float, float, float, float]:
            left = x + scale * place[0] - (width if place[0] < 0 else 0.0)
            middle = y + scale * place[1]
            return left, middle - height / 2, left + width, middle + height / 2

        own = (x - 5, y - 5, x + 5, y + 5)
        others = [one for one in taken if one != own]
        best = min(_PLACES, key=lambda place: sum(
            _overlap(box(place), other) for other in others))
        taken.append(box(best))
        axes.annotate(
            name, (at_x, at_y), best, textcoords='offset points', fontsize=_FONT, va='center',
            ha='left' if best[0] > 0 else 'right', color=RIGHT if row['ours'] else INK,
            weight='bold' if row['ours'] else 'normal')


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the area two boxes (left, bottom, right, top) share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _plain(value: float, _position: Any) -> str:
    """Return a number of an axis as people write it."""
    return f'{value:,.0f}'.replace(',', ' ') if value >= 1 else f'{value:g}'
