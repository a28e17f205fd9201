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

"""
The pictures of an evaluation report.

Every plot has axes, units, a title and a caption that says what to see. Figures are made without
pyplot: no window, no global state, safe in any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
import textwrap
from typing import Any

import cv2
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
import numpy as np

from vpr_compressed.errors import VprError
from vpr_compressed.evaluation.summary import Report
from vpr_compressed.records import ImageArray

# Blue and orange differ for every common kind of colour vision; green and red do not.
RIGHT, WRONG, WITHHELD, INK = '#0b66c3', '#e2570e', '#8b95a1', '#1f2933'
HEAT = LinearSegmentedColormap.from_list('heat', ['#ffffff', '#c9d3dd', '#5f6f80', '#141b22'])
ANSWER = '#2aa198'
WIDTH_IN = 6.2


@dataclass(frozen=True)
class Plot:
    """
    A finished picture.

    :param name: file name
    :param title: what is shown, for a page and for readers who cannot see it
    :param caption: what to see in it
    :param pixels: RGB, uint8, ``(H, W, 3)``, with the caption at the bottom
    :param caption_rows: rows of pixels at the bottom that hold the caption
    """

    name: str
    title: str
    caption: str
    pixels: ImageArray
    caption_rows: int

    def png(self, *, caption: bool) -> bytes:
        """Return the picture as PNG, with the caption or, for a page that has it, without."""
        rows = len(self.pixels) - (0 if caption else self.caption_rows)
        good, data = cv2.imencode(
            '.png', self.pixels[:rows, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        if not good:
            raise VprError(f'cannot encode the plot {self.name}')
        return data.tobytes()


@dataclass(frozen=True)
class Pair:
    """
    One query and what was found for it, as small images.

    :param right: whether the found place is right
    :param answer: an image that would have been right; None when ``found`` is, or there is none
    """

    query: ImageArray
    found: ImageArray
    answer: ImageArray | None
    right: bool
    query_text: str
    found_text: str
    answer_text: str = ''


def recall_plot(report: Report) -> Plot:
    """Draw recall@N."""
    figure, axes = new_axes(3.6)
    cutoffs = list(report.recall_curve)
    values = [100 * report.recall_curve[n] for n in cutoffs]
    axes.plot(cutoffs, values, color=RIGHT, marker='o', markersize=4, linewidth=2)
    # The line never falls, so there is always room below it to the right.
    for n, recall in report.recall.items():
        axes.annotate(
            f'{recall:.1%}', (n, 100 * recall), (5, -15), textcoords='offset points',
            fontsize=10, color=INK, weight='bold')
    axes.set(
        xlabel='N, places looked at per query', ylabel='recall@N  [%]',
        xlim=(0.5, max(cutoffs) + 0.5), xticks=[1, 5, 10, 15, 20, 25],
        ylim=(min(50.0, 10 * np.floor(min(values) / 10)), 102))
    title = f'Recall@N: {report.recall[1]:.1%} of the queries have a right place first'
    set_title(axes, title)
    return finish('recall.png', title, (
        f'Share of the {report.truth.answerable} queries with a right answer '
        f'({report.truth.description}) that have one among the N most similar of '
        f'{len(report.measurement.reference_names)} places. A line that starts high needs no '
        'second look; one that climbs late would gain from re-ranking.'), figure)


def precision_recall_plot(report: Report) -> Plot:
    """Draw precision over recall with the point where the recogniser works."""
    figure, axes = new_axes(4.6)
    curve, accepted = report.curve, report.accepted
    recall = 100 * np.append(0.0, curve.recall)
    precision = 100 * np.append(curve.precision[:1], curve.precision)
    axes.plot(
        recall, precision, color=RIGHT, linewidth=2, label='best place alone, all thresholds')
    full = 100 * curve.max_recall_at_full_precision
    axes.axvline(full, color=WITHHELD, linewidth=1, linestyle=':')
    axes.annotate(
        f'{full:.1f} % recall without an error', (full, 3), (-5 if full > 50 else 5, 0),
        textcoords='offset points', color='#52606d', fontsize=9.5, va='bottom',
        ha='right' if full > 50 else 'left')
    if accepted.precision is not None:
        axes.plot(
            100 * accepted.recall, 100 * accepted.precision, marker='D', markersize=9,
            linestyle='none', color=WRONG, markeredgecolor='white',
            label=f'accepted matches: {accepted.precision:.1%} right at '
            f'{accepted.recall:.1%} recall')
    axes.set(
        xlabel='recall: right answers / answerable queries  [%]',
        ylabel='precision: right / accepted  [%]', xlim=(0, 102), ylim=(0, 104))
    axes.legend(
        loc='upper left', bbox_to_anchor=(0.0, -0.15), frameon=False, fontsize=9.5)
    title = f'Precision and recall: area {curve.area:.3f}'
    set_title(axes, title)
    return finish('precision_recall.png', title, (
        'Lowering the threshold accepts more answers (to the right) and more wrong ones (down). '
        + ('With its own threshold, the recogniser accepted nothing.'
           if accepted.precision is None else
           'The diamond is where the recogniser works with its own threshold and with agreement '
           'of several frames; above the line, agreement over time is worth more than any '
           'threshold on one image.')), figure)


def latency_plot(report: Report) -> Plot:
    """Draw how long the queries took."""
    figure, axes = new_axes(3.2)
    queries = report.measurement.queries
    inference = np.array([query.inference_ms for query in queries])
    search = np.array([query.search_ms for query in queries])
    axes.fill_between(
        np.arange(len(queries)), inference, color='#a9c8ea', label='network', step='mid',
        linewidth=0)
    axes.fill_between(
        np.arange(len(queries)), inference, inference + search, color=WRONG,
        label='search and agreement', step='mid', linewidth=0)
    for name in ('p50', 'p95'):
        value = report.latency_ms[name]
        axes.axhline(value, color=INK, linewidth=1, linestyle=':')
        axes.annotate(
            f'{name} {value:.1f} ms', (len(queries) - 1, value), (-2, 3),
            textcoords='offset points', ha='right', fontsize=9, color=INK,
            bbox={'facecolor': 'white', 'alpha': 0.8, 'linewidth': 0, 'pad': 1.5})
    top = 1.6 * report.latency_ms['p95']
    axes.set(xlabel='query: index', ylabel='time  [ms]', ylim=(0, top))
    axes.legend(
        loc='upper left', fontsize=9, ncol=2, framealpha=0.85, edgecolor='none', borderpad=0.2)
    title = f'Time from decoded image to answer: half within {report.latency_ms["p50"]:.1f} ms'
    set_title(axes, title)
    return finish('latency.png', title, (
        f'Wall time of each query on {report.setting["machine"]["processor"]} '
        f'({report.setting["engine"]}). The axis ends at 1.6 times the 95th percentile; spikes '
        'beyond it are mostly other programs on this computer.'), figure)


def pairs_plot(name: str, title: str, caption: str, pairs: list[Pair]) -> Plot:
    """Draw queries beside what was found for them."""
    columns = 3 if any(pair.answer is not None for pair in pairs) else 2
    cell = WIDTH_IN / columns
    shape = pairs[0].query.shape if pairs else (3, 4)
    height = max(1, len(pairs)) * (0.95 * cell * shape[0] / shape[1] + 0.26) + 0.45
    figure = Figure(figsize=(WIDTH_IN, height))
    figure.suptitle(title, x=0.012, ha='left', fontsize=12, weight='bold', color=INK)
    if not pairs:
        figure.text(0.5, 0.4, 'none', ha='center', fontsize=12, color=WITHHELD)
    for number, pair in enumerate(pairs):
        colour = RIGHT if pair.right else WRONG
        _image(figure, (len(pairs), columns, 1 + number * columns), pair.query,
               pair.query_text, INK)
        _image(figure, (len(pairs), columns, 2 + number * columns), pair.found,
               pair.found_text, colour)
        if pair.answer is not None:
            _image(figure, (len(pairs), columns, 3 + number * columns), pair.answer,
                   pair.answer_text, ANSWER)
    # Photographs need fewer pixels than lines.
    return finish(name, title, caption, figure, dpi=120, head_in=0.16)


def _image(
    figure: Figure, place: tuple[int, int, int], image: ImageArray, text: str, colour: str
) -> None:
    """Draw one framed image with a line of text above it."""
    axes = figure.add_subplot(*place)
    axes.imshow(image, interpolation='antialiased')
    axes.set(xticks=[], yticks=[])
    axes.set_title(text, fontsize=8.5, color=colour, loc='left', pad=3)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2)


def finish(
    name: str, title: str, caption: str, figure: Figure, dpi: int = 160, head_in: float = 0.0,
    foot_in: float = 0.0
) -> Plot:
    """
    Lay out a figure, write its caption below it, and draw it.

    :param head_in: inches to leave free at the top
    :param foot_in: inches to leave free above the caption
    """
    lines = textwrap.wrap(caption, 88)
    width, height = figure.get_size_inches()
    caption_in = 0.16 * len(lines) + 0.12
    height += caption_in
    figure.set(size_inches=(width, height), dpi=dpi, facecolor='white')
    share = caption_in / height
    figure.text(
        0.012, share - 0.02 / height, '\n'.join(lines), va='top', ha='left', fontsize=9,
        color='#52606d', linespacing=1.25)
    figure.tight_layout(
        rect=(0, share + foot_in / height, 1, 1 - head_in / height), pad=0.6)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return Plot(name, title, caption, pixels, round(caption_in * dpi))


def new_axes(height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of the common width, in inches."""
    figure = Figure(figsize=(WIDTH_IN, height))
    axes = figure.add_subplot()
    style_axes(axes)
    return figure, axes


def style_axes(axes: Axes) -> None:
    """Give axes the common look."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color('#9aa5b1')
    axes.grid(color='#e4e7eb', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors='#52606d', labelsize=10)
    axes.xaxis.label.set(color=INK, fontsize=10.5)
    axes.yaxis.label.set(color=INK, fontsize=10.5)


def set_title(axes: Axes, text: str) -> None:
    """Set a left-aligned title that wraps at the width of the figure."""
    axes.set_title(
        textwrap.fill(text, 58), loc='left', fontsize=12, weight='bold', color=INK, pad=10)
