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
How every plot of the reports is drawn: axes, units, a title, a caption that says what to see.

Figures are made without pyplot: no window, no global state, safe in any thread.
"""

from __future__ import annotations

import json
from pathlib import Path
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import ScaledTranslation
import numpy as np

from vpr_compressed.offline.reports.page import Plot

# Blue and orange differ for every common kind of colour vision; green and red do not.
RIGHT, WRONG, ANSWER = '#0b66c3', '#e2570e', '#2aa198'
INK, SOFT, WITHHELD, PALE = '#1f2933', '#52606d', '#8b95a1', '#a9c8ea'
HEAT = LinearSegmentedColormap.from_list('heat', ['#ffffff', '#c9d3dd', '#5f6f80', '#141b22'])
#: Width of a figure, and of one that is drawn across a page, in inches.
WIDTH_IN, WIDE_IN = 6.2, 12.6
#: Letters of a caption in one line, per inch.
_LETTERS_PER_IN = 14.2
# They differ for every common kind of colour vision, and in lightness on paper.
_COLOURS = ('#0b66c3', '#e2570e', '#1a936f', '#7b3fa0', '#b8860b', '#44546a')
_LINES = ('-', '--', '-.', ':')
_MARKERS = 'osD^vP'


def finish(
    name: str, title: str, caption: str, place: Axes | Figure, dpi: int = 160,
    head_in: float = 0.0, foot_in: float = 0.0
) -> Plot:
    """
    Give a figure its title, lay it out, write its caption below it, and draw it.

    :param place: the axes that the title stands above, or a figure of several
    :param head_in: inches to leave free at the top
    :param foot_in: inches to leave free above the caption
    """
    set_title(place, title)
    figure: Any = place if isinstance(place, Figure) else place.figure
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, int(_LETTERS_PER_IN * width))
    caption_in = 0.16 * len(lines) + 0.12
    height += caption_in
    figure.set(size_inches=(width, height), dpi=dpi, facecolor='white')
    share = caption_in / height
    figure.text(
        0.012 * WIDTH_IN / width, share - 0.02 / height, '\n'.join(lines), va='top', ha='left',
        fontsize=9, color=SOFT, linespacing=1.25)
    for _ in range(2):  # the words at the ticks depend on the size of the axes
        figure.tight_layout(
            rect=(0, share + foot_in / height, 1, 1 - head_in / height), pad=0.6)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return Plot(name, title, caption, pixels, round(caption_in * dpi), wide=bool(width > WIDTH_IN))


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
    axes.tick_params(colors=SOFT, labelsize=10)
    axes.xaxis.label.set(color=INK, fontsize=10.5)
    axes.yaxis.label.set(color=INK, fontsize=10.5)


def set_title(place: Axes | Figure, text: str) -> None:
    """Set a left-aligned title, of a figure with several axes on one line, else wrapped."""
    if isinstance(place, Figure):
        place.suptitle(
            text, x=0.012 * WIDTH_IN / place.get_figwidth(), ha='left', fontsize=12,
            weight='bold', color=INK)
    else:
        place.set_title(
            textwrap.fill(text, 58), loc='left', fontsize=12, weight='bold', color=INK, pad=10)


def legend_below(
    axes: Axes, drop_in: float = 0.5, *, left: float = 0.0, **look: Any
) -> Legend:
    """
    Set a legend without a frame below the axes.

    :param drop_in: inches from the bottom of the axes; the default leaves room for a label
    :param left: from the left end of the axes, as a share of their width
    """
    figure: Any = axes.figure
    below = axes.transAxes + ScaledTranslation(0.0, -drop_in, figure.dpi_scale_trans)
    return axes.legend(
        loc='upper left', bbox_to_anchor=(left, 0.0), bbox_transform=below, frameon=False,
        borderaxespad=0.0, **look)


def line(number: int) -> dict[str, Any]:
    """Return colour, dashes and width of the line of a model, counted from 0."""
    return {'color': _COLOURS[number % len(_COLOURS)], 'linewidth': 1.8,
            'linestyle': _LINES[number // len(_COLOURS) % len(_LINES)]}


def marker(number: int) -> str:
    """Return the marker of a model, counted from 0."""
    return _MARKERS[number % len(_MARKERS)]


def shortened(label: str, letters: int = 22) -> str:
    """Return the name of a model that fits; models often differ at the end of their names."""
    return label if len(label) <= letters else f'...{label[3 - letters:]}'


def plot_training(log: Path, picture: Path) -> None:
    """
    Draw the log of a training run: validation recall over the steps.

    :param log: ``log.jsonl`` of the ``train`` verb
    :param picture: PNG to write
    """
    records = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    _, axes = new_axes(3.8)
    for name in records[0]['recalls']:
        points = [(item['step'], item['recalls'][name]) for item in records if item['recalls']]
        axes.plot(*zip(*points), marker='o', markersize=3, label=name)
    best = [item['step'] for item in records if item['is_best']]
    if best:
        axes.axvline(best[-1], color='0.7', linestyle='--', label=f'kept (step {best[-1]})')
    axes.set(xlabel='optimiser step', ylabel='recall@1 on validation images', ylim=(0.0, 1.0))
    axes.legend(loc='lower right')
    plot = finish(
        picture.name, 'Training: recall@1 on validation images',
        'The kept weights are those with the highest mean recall over all sets.', axes)
    picture.write_bytes(plot.png(caption=True))
