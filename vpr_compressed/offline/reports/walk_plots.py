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

"""A walk image by image: what was decided, how sure it was, and where it came back to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import Positives
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.page import described
from vpr_compressed.offline.reports.page import Plot
from vpr_compressed.records import Status

#: Images in a row of a strip that are told apart by eye; longer walks have longer rows only when
#: there would be more rows than this.
IMAGES_PER_ROW, MOST_ROWS = 200, 12
#: Strips of several models that stand in one picture at most, as far as a row can be longer.
_MOST_STRIPS = 24
#: Inches of a strip with its line of confidence, of the gap between rows, and of a legend line.
_STRIP_IN, _GAP_IN, _LEGEND_IN = 0.44, 0.3, 0.2
#: Inches of the title and of the words below the last row.
_HEAD_IN, _LABEL_IN = 0.2, 0.55
#: Bottom and height of the line of confidence above cells that reach from 0 to 1, and what a
#: strip takes with its mark of unmapped places.
_LINE, _LINE_HEIGHT, _PITCH = 1.3, 1.0, 2.75


class Cell(NamedTuple):
    """
    How one image of a walk is drawn.

    Kinds differ in colour, in lightness and in height: no colour vision is needed to tell what was
    accepted from what was withheld.

    :param words: for the legend
    :param colour: of the cell
    :param height: of a full cell
    """

    words: str
    colour: str
    height: float


#: What became of an image -> its cell; the withheld ones are those of :class:`Status`.
CELLS = {
    'right': Cell('accepted, right', figures.RIGHT, 1.0),
    'wrong': Cell('accepted, WRONG', figures.WRONG, 1.15),
    'junk': Cell('accepted, neither right nor wrong', '#a678cc', 1.0),
    **{status.name.lower(): Cell(f'withheld: {status.words}', colour, height)
       for status, colour, height in (
           (Status.UNSURE, figures.WITHHELD, 0.6), (Status.LOOK_ALIKE, '#f2cf4a', 0.6),
           (Status.UNKNOWN, '#b9c3cd', 0.33), (Status.STANDING, '#6fb1ee', 0.33),
           (Status.EMPTY_MAP, '#e6ddca', 0.15))}}


@dataclass(frozen=True, kw_only=True)
class Strip:
    """
    One model on a walk.

    :param kinds: keys of :data:`CELLS`, one per image
    :param confidences: of the believed places, in [0, 1], ``(Q,)``
    :param threshold: confidence from which a place is accepted; None where it is no one number
    """

    label: str
    kinds: Sequence[str]
    confidences: FloatArray
    threshold: float | None = None


def walk_plot(strips: Sequence[Strip], mapped: NDArray[np.bool_]) -> Plot:
    """
    Draw what became of every image of a walk, long ones in several rows.

    :param strips: at least one; all of the same images
    :param mapped: whether the place of an image is in the map, bool ``(Q,)``
    """
    count, several = len(mapped), len(strips) > 1
    length = row_length(count, len(strips))
    starts = range(0, count, length)
    used = [name for name in CELLS if any(name in strip.kinds for strip in strips)]
    entries = len(used) + 1 + any(s.threshold is not None for s in strips) + (not mapped.all())
    legend_in = _LEGEND_IN * math.ceil(entries / 3) + 0.1
    row_in = _STRIP_IN * len(strips) + _GAP_IN
    figure = Figure(figsize=(
        figures.WIDE_IN, _HEAD_IN + row_in * len(starts) + _LABEL_IN + legend_in))
    every = figure.subplots(len(starts), 1, squeeze=False)[:, 0]
    for axes, start in zip(every, starts):
        shown = slice(start, min(start + length, count))
        for number, strip in enumerate(strips):
            _draw_strip(axes, strip, mapped, shown, -_PITCH * number, length)
        axes.set(
            xlim=(start - 0.5, start + length - 0.5), yticks=[],
            ylim=(-_PITCH * (len(strips) - 1) - 0.4, _LINE + _LINE_HEIGHT + 0.1),
            xticks=_ticks(shown, length))
        axes.spines[['top', 'right', 'left', 'bottom']].set_visible(False)
        axes.tick_params(colors=figures.SOFT, labelsize=9, length=2, pad=1)
        if several:
            axes.set_yticks(
                [0.5 - _PITCH * number for number in range(len(strips))],
                [figures.shortened(strip.label) for strip in strips])
            axes.tick_params(axis='y', length=0, colors=figures.INK)
    every[-1].set_xlabel('query: number in the walk', fontsize=9.5, color=figures.INK)
    _legend(figure, strips, used, mapped)
    counts = {name: strips[0].kinds.count(name) for name in CELLS}
    return figures.finish(
        'walk.png', *described('walk', strips=strips, counts=counts, rows=len(starts)), figure,
        head_in=_HEAD_IN, foot_in=legend_in)


@dataclass(frozen=True, kw_only=True)
class Revisits:
    """
    Where a recording comes back to, and what was noticed of it.

    :param times_s: of the images, from the first one on, ``(Q,)``
    :param matches: index of the earlier image that was accepted, None where none was, length Q
    :param verdicts: of the accepted ones: right, wrong or junk, length Q
    :param truth: earlier images of the same place, length Q
    :param exclude_s: seconds before an image that are not searched
    """

    times_s: FloatArray
    matches: Sequence[int | None]
    verdicts: Sequence[str | None]
    truth: Positives
    exclude_s: float


def revisit_plot(label: str, found: Revisits, *, name: str = 'revisits.png') -> Plot:
    """
    Draw when each image was taken against when the place it was matched with was.

    :param label: of the model where there are several, else empty
    :param name: of the file
    """
    _, axes = figures.new_axes(5.6)
    times, last = found.times_s, float(found.times_s[-1])
    axes.fill_between([0, last], [-found.exclude_s, last - found.exclude_s], [0, last],
                      color='#eceff3', linewidth=0, label='too recent to be searched')
    pairs = np.array([(times[query], times[row]) for query, rows in enumerate(found.truth)
                      for row in rows], np.float64).reshape(-1, 2)
    axes.scatter(pairs[:, 0], pairs[:, 1], s=16, marker='s', color='#bfe5df', linewidths=0,
                 label='the same place, seen before')
    for verdict, colour, size in (('right', figures.RIGHT, 13), ('wrong', figures.WRONG, 30)):
        points = np.array(
            [(times[query], times[row]) for query, row in enumerate(found.matches)
             if row is not None and found.verdicts[query] == verdict], np.float64).reshape(-1, 2)
        axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, zorder=3,
                     marker='o' if verdict == 'right' else 'D',
                     label=f'accepted, {verdict} ({len(points)})')
    axes.set(xlabel='time of the image  [s]', ylabel='time of the place it matched  [s]',
             xlim=(0, last), ylim=(0, last))
    figures.legend_below(axes, ncol=2, fontsize=9)
    returns = [bool(rows) for rows in found.truth]
    return figures.finish(name, *described(
        'revisits', label=label, right=found.verdicts.count('right'),
        wrong=found.verdicts.count('wrong'), returns=sum(returns), noticed=sum(
            back and verdict == 'right' for back, verdict in zip(returns, found.verdicts))), axes)


def row_length(count: int, models: int) -> int:
    """
    Return how many images a row of the strip holds.

    Rows are equally long as far as that goes, and no more than can be looked at.

    :param count: images of the walk
    :param models: strips in a row
    """
    rows = min(math.ceil(count / IMAGES_PER_ROW), MOST_ROWS, max(1, _MOST_STRIPS // models))
    return math.ceil(count / rows / 10) * 10 if rows > 1 else max(count, IMAGES_PER_ROW // 4)


def _draw_strip(
    axes: Axes, strip: Strip, mapped: NDArray[np.bool_], shown: slice, bottom: float, length: int
) -> None:
    """Draw the cells of a part of the walk, and the confidence above them."""
    indices = np.arange(shown.start, shown.stop)
    kinds = np.array(strip.kinds[shown])
    width = 0.86 if length <= 1.5 * IMAGES_PER_ROW else 1.0
    # Of several images in one pixel a wrong one must be seen, so it comes last and is widened.
    for name, cell in reversed(CELLS.items()):
        wide = max(width, length / 900) if name == 'wrong' else width
        axes.broken_barh(
            [(index - wide / 2, wide) for index in indices[kinds == name]],
            (bottom, cell.height), facecolor=cell.colour, linewidth=0)
    missing = indices[~mapped[shown]]
    axes.broken_barh(
        [(index - 0.5, 1.0) for index in missing], (bottom - 0.26, 0.12),
        facecolor=figures.INK, linewidth=0)
    base = bottom + _LINE
    ends = indices[[0, -1]] + (-0.5, 0.5)
    for level in (0.0, 1.0):
        axes.plot(ends, [base + level * _LINE_HEIGHT] * 2, color='#dde3ea', linewidth=0.6)
    if strip.threshold is not None:
        axes.plot(ends, [base + strip.threshold * _LINE_HEIGHT] * 2, color=figures.WRONG,
                  linewidth=0.8, linestyle=(0, (4, 3)))
    # A single image still has a line.
    steps = np.concatenate([ends[:1], indices, ends[1:]])
    values = np.pad(strip.confidences[shown], 1, mode='edge')
    axes.plot(steps, base + values * _LINE_HEIGHT, color=figures.INK, linewidth=0.9,
              drawstyle='steps-mid')


def _legend(
    figure: Figure, strips: Sequence[Strip], used: Sequence[str], mapped: NDArray[np.bool_]
) -> None:
    """Name the cells that occur, with their number where there is one model."""
    total = {name: f' ({strips[0].kinds.count(name)})' if len(strips) == 1 else ''
             for name in used}
    handles: list[object] = [
        Rectangle((0, 0), 1, CELLS[name].height, facecolor=CELLS[name].colour,
                  label=CELLS[name].words + total[name]) for name in used]
    axes = figure.axes[-1]
    if not mapped.all():
        handles.append(Rectangle((0, 0), 1, 0.12, facecolor=figures.INK,
                                 label='bar below: no right place in the map'))
    handles += axes.plot([], [], color=figures.INK, linewidth=0.9, label='confidence, 0 to 1')
    if any(strip.threshold is not None for strip in strips):
        handles += axes.plot([], [], color=figures.WRONG, linewidth=0.8, linestyle='--',
                             label='confidence that is accepted')
    figures.legend_below(
        axes, handles=handles, ncol=3, fontsize=9, columnspacing=1.6).set_in_layout(False)


def _ticks(shown: slice, length: int) -> NDArray[np.int64]:
    """Return round indices in a part of the walk."""
    step = next(step for step in (5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if 22 * step > length)
    return np.arange(math.ceil(shown.start / step) * step, shown.stop, step)
