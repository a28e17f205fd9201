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


"""Pictures of a demo run: the route with every answer on it, and frames of both laps."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from pathlib import Path
import textwrap

import cv2
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import numpy as np

from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.demo.judged_answers import BoolArray
from vpr_compressed.offline.demo.judged_answers import DemoResult
from vpr_compressed.offline.demo.judged_answers import JudgedAnswers
from vpr_compressed.offline.demo.judged_answers import NodeAnswers
from vpr_compressed.offline.demo.judged_answers import reason_of
from vpr_compressed.offline.demo.made_up_town import BLOCKS
from vpr_compressed.offline.demo.made_up_town import HOUSE_DEPTH_M
from vpr_compressed.offline.demo.made_up_town import RING
from vpr_compressed.offline.reports.figures import INK
from vpr_compressed.offline.reports.figures import RIGHT
from vpr_compressed.offline.reports.figures import style_axes
from vpr_compressed.offline.reports.figures import WRONG
from vpr_compressed.offline.reports.walk_plots import CELLS
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Status

#: Kind of outcome -> marker, size, colour of its edge, words for the legend.
MARKS: Mapping[str, tuple[str, float, str, str]] = {
    'right': ('o', 30, 'white', 'accepted, right'),
    'wrong': ('X', 80, 'white', 'accepted, wrong'),
    'missed': ('o', 34, INK, 'withheld, in the map'),
    'unknown': ('s', 20, '#7b8794', 'withheld, off the map'),
}
#: Why a place was withheld -> colour, as in the reports; None is an image without an answer.
REASONS: Mapping[Status | None, str] = {
    **{status: CELLS[status.name.lower()].colour
       for status in Status if status.name.lower() in CELLS},
    None: '#a678cc'}
_QUIET = '#52606d'
#: The legend: columns, and inches of a line.
_COLUMNS, _ENTRY_IN = 2, 0.21


def draw(result: DemoResult, folder: Path, *, town: bool) -> Path:
    """
    Draw the route, or the order of the images where there are no positions; PNG.

    :param town: the laps are those through the made-up town: draw its houses
    """
    mapped, seen = result.reference.positions_m, result.query.positions_m
    title = result.headline()
    if result.judged is None or mapped is None or seen is None:
        path = folder / 'demo_order.png'
        draw_order(result.judged, result.answers, len(result.reference), path, title=title)
    else:
        path = folder / 'demo_route.png'
        draw_route(result.judged, mapped, seen, path, title=title, town=town)
    return path


def draw_route(
    judged: JudgedAnswers, mapped: FloatArray, seen: FloatArray, path: Path, *, title: str,
    town: bool
) -> None:
    """
    Draw where the robot was and what it was told, as PNG.

    :param mapped: positions of the reference, ``(R, 3)`` in metres
    :param seen: positions of the queries, ``(Q, 3)``
    :param town: draw the houses of the made-up town below the route
    """
    mapped, seen = mapped[:, :2], seen[:, :2]
    corners = np.vstack([mapped, seen])
    low, high = corners.min(axis=0) - 3, corners.max(axis=0) + 3
    if town:
        low, high = np.array(RING[:2]) - HOUSE_DEPTH_M, np.array(RING[2:]) + HOUSE_DEPTH_M
    span = np.maximum(high - low, 1.0)
    height = float(np.clip(8.2 * span[1] / span[0], 1.5, 8.0)) + 1.65
    figure, axes = _axes(height)
    if town:
        _draw_town(axes)
    axes.plot(*mapped.T, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2,
              label=f'first run: {len(mapped)} mapped places')
    _draw_links(axes, judged, seen, mapped)
    _draw_marks(axes, judged, seen)
    axes.annotate('start', seen[0], (0, -16), textcoords='offset points', ha='center',
                  fontsize=9.5, color=INK)
    axes.set(xlabel='x, east  [m]', ylabel='y, north  [m]', aspect='equal',
             xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    _finish(axes, figure, path, title, _caption(judged, 'Each mark is one image of the second '
            'run, where it really was taken; a line leads to the place the node reported.'))


def draw_order(
    judged: JudgedAnswers | None, answers: NodeAnswers, mapped: int, path: Path, *, title: str
) -> None:
    """
    Draw which image of the first recording each image of the second was taken for, as PNG.

    :param judged: None without a truth; accepted matches then have one colour
    :param mapped: number of images of the first recording
    """
    figure, axes = _axes(6.1)
    points = np.column_stack([
        np.arange(len(answers.best)), np.maximum(answers.best, 0)]).astype(np.float64)
    if judged is None:
        accepted = answers.accepted
        _scatter(axes, points[accepted], 'right', RIGHT, 'accepted')
        _draw_reasons(axes, answers, ~accepted, points, 'unknown', 'withheld')
    else:
        _draw_marks(axes, judged, points)
    axes.set(xlabel='second recording: image index', ylabel='first recording: image index',
             xlim=(-1, len(points)), ylim=(-1, mapped))
    _finish(axes, figure, path, title, _caption(
        judged, 'Two runs along one route give a rising line; single dots off the line are '
        'places that look alike.'))


def montage(first: Sequence[Path], second: Sequence[Path], path: Path, width: int = 320) -> None:
    """
    Write pairs of images side by side, the first run above the second, as JPEG.

    :param first: images of the first run
    :param second: as many of the second run
    :param width: of one image in pixels
    """
    rows = [np.hstack([_thumbnail(file, width) for file in files]) for files in (first, second)]
    cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 85])


def examples(judged: JudgedAnswers, count: int) -> list[tuple[int, int]]:
    """
    Return matches to show: right ones, evenly spread over the run.

    :returns: at most ``count`` pairs of reference index and query index
    """
    right = np.flatnonzero(judged.mask('right'))
    if not len(right):
        return []
    chosen = np.unique(right[np.linspace(0, len(right) - 1, count + 2).astype(int)[1:-1]])
    return [(int(judged.answers.best[query]), int(query)) for query in chosen]


def _thumbnail(file: Path, width: int) -> ImageArray:
    """Return an image file, BGR, ``width`` pixels wide, 4:3, with a thin white frame."""
    image = cv2.imread(str(file))
    if image is None:
        raise ValueError(f'{file} is no image')
    small = cv2.resize(image, (width - 4, width * 3 // 4 - 4), interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return np.asarray(framed, np.uint8)


def _draw_town(axes: Axes) -> None:
    """Draw the houses as grey areas."""
    west, south, east, north = RING
    deep = HOUSE_DEPTH_M
    axes.add_patch(Rectangle((west - deep, south - deep), east - west + 2 * deep,
                             north - south + 2 * deep, facecolor='#dfe3e8', zorder=0))
    axes.add_patch(Rectangle((west, south), east - west, north - south, facecolor='white',
                             zorder=0.1))
    for number, (x0, y0, x1, y1) in enumerate(BLOCKS):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor='#dfe3e8', zorder=0.2))
        axes.text((x0 + x1) / 2, (y0 + y1) / 2, f'block {"AB"[number]}', ha='center',
                  va='center', color='#7b8794', fontsize=11)


def _draw_links(axes: Axes, judged: JudgedAnswers, seen: FloatArray, mapped: FloatArray) -> None:
    """Draw a line from each accepted query to the place it was taken for."""
    for kind, colour, width in (('right', RIGHT, 1.0), ('wrong', WRONG, 1.4)):
        which = judged.mask(kind) & (judged.answers.best >= 0)
        lines = np.stack([seen[which], mapped[judged.answers.best[which]]], axis=1)
        axes.add_collection(LineCollection(
            list(lines), colors=colour, linewidths=width, alpha=0.7, zorder=3))


def _draw_marks(axes: Axes, judged: JudgedAnswers, points: FloatArray) -> None:
    """Draw a mark per query, and enter every kind and reason with its number into the legend."""
    for kind, colour in (('right', RIGHT), ('wrong', WRONG)):
        _scatter(axes, points[judged.mask(kind)], kind, colour, MARKS[kind][-1])
    for kind in ('missed', 'unknown'):
        _draw_reasons(axes, judged.answers, judged.mask(kind), points, kind, MARKS[kind][-1])


def _draw_reasons(
    axes: Axes, answers: NodeAnswers, withheld: BoolArray, points: FloatArray, kind: str,
    words: str
) -> None:
    """Draw a mark of the colour of its reason for each query that was withheld."""
    for status, colour in REASONS.items():
        which = withheld & answers.which(status)
        if which.any():
            _scatter(axes, points[which], kind, colour, f'{words}: {reason_of(status)}')


def _scatter(axes: Axes, points: FloatArray, kind: str, colour: str, words: str) -> None:
    """Draw marks of one kind and colour, and enter them into the legend."""
    marker, size, edge, _ = MARKS[kind]
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colour, marker=marker, edgecolors=edge,
                 linewidths=1.0 if kind == 'missed' else 0.5, zorder=6 if kind == 'wrong' else 4,
                 label=f'{words}: {len(points)}')


def _caption(judged: JudgedAnswers | None, text: str) -> str:
    """Return the caption with the rule by which answers were judged."""
    return text if judged is None else f'{text} Judged: {judged.rule}.'


def _axes(height: float) -> tuple[Figure, Axes]:
    """Return an empty figure 9 inches wide."""
    figure = Figure(figsize=(9.0, height), dpi=120, facecolor='white')
    axes = figure.add_subplot()
    style_axes(axes)
    return figure, axes


def _finish(axes: Axes, figure: Figure, path: Path, title: str, caption: str) -> None:
    """Add title, legend and caption, and write the file."""
    figure.suptitle(textwrap.fill(title, 84), x=0.012, ha='left', fontsize=12.5, weight='bold',
                    color=INK)
    marks, words = axes.get_legend_handles_labels()
    lines = textwrap.wrap(caption, 118)
    legend_in = _ENTRY_IN * math.ceil(len(words) / _COLUMNS)
    caption_in = 0.19 * len(lines) + 0.1
    height_in = figure.get_figheight() + legend_in
    figure.set_figheight(height_in)
    figure.text(0.012, 0.012, '\n'.join(lines), fontsize=9.5, color=_QUIET, va='bottom')
    figure.legend(marks, words, loc='lower center', bbox_to_anchor=(0.5, caption_in / height_in),
                  ncol=_COLUMNS, frameon=False, fontsize=9.5, handletextpad=0.4, borderpad=0.0)
    figure.tight_layout(rect=(0, (caption_in + legend_in) / height_in, 1, 1), pad=0.6)
    FigureCanvasAgg(figure)
    figure.savefig(path)
