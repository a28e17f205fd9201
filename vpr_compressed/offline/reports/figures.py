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
