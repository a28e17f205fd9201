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

"""Windows, doors, signs and graffiti of a house front; all painted in place."""

from __future__ import annotations

import cv2
import numpy as np
from tools.made_up_town.masonry import Canvas
from tools.made_up_town.masonry import Style
from tools.made_up_town.pixel_values import rgb


def paint_window(
    canvas: Canvas, glow: Canvas, style: Style, centre: tuple[int, int], size: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Paint one window with frame, glass, curtain, sill and what else the style has."""
    x0, y0 = centre[0] - size[0] // 2, centre[1] - size[1] // 2
    x1, y1 = x0 + size[0], y0 + size[1]
    if style.shutters:
        _shutters(canvas, style, (x0, y0, x1, y1))
    if style.arched:
        axes = (size[0] // 2 + 5, size[0] // 3 + 5)
        cv2.ellipse(canvas, (centre[0], y0), axes, 0, 180, 360, style.trim, -1)
        cv2.ellipse(canvas, (centre[0], y0), (axes[0] - 6, axes[1] - 6), 0, 180, 360,
                    (54, 62, 72), -1)
    cv2.rectangle(canvas, (x0 - 5, y0 - 5), (x1 + 5, y1 + 5), style.trim, -1)
    paint_glass(canvas, glow, (x0, y0, x1, y1), rng)
    for pane in range(1, style.panes):
        x = x0 + size[0] * pane // style.panes
        cv2.line(canvas, (x, y0), (x, y1), style.frame, 2)
    cv2.line(canvas, (x0, y0 + size[1] // 3), (x1, y0 + size[1] // 3), style.frame, 2)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), style.frame, 2)
    cv2.rectangle(canvas, (x0 - 8, y1 + 4), (x1 + 8, y1 + 8), style.trim, -1)
    cv2.line(canvas, (x0 - 6, y1 + 10), (x1 + 6, y1 + 10), (50, 46, 44), 2)
    if style.balconies:
        _balcony(canvas, (x0 - 14, y1 - 26, x1 + 14, y1 + 10))


def paint_glass(
    canvas: Canvas, glow: Canvas, box: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    """Paint glass: a dim room, a bit of mirrored sky, perhaps a curtain."""
    x0, y0, x1, y1 = box
    glass = canvas[max(y0, 0):y1, max(x0, 0):x1]
    if glass.size == 0:
        return
    fade = np.linspace(rng.uniform(0.7, 1.3), rng.uniform(0.3, 0.6), glass.shape[0])
    base = rgb((70, 84, 98)) * np.float32(rng.uniform(0.6, 1.3))
    glass[:] = np.clip(fade[:, None, None] * base, 0, 255)
    if rng.random() < 0.45:
        drawn = int(glass.shape[0] * rng.uniform(0.25, 1.0))
        glass[:drawn] = (0.35 * glass[:drawn] + 0.65 * rng.uniform(130, 225)).astype(np.uint8)
    glow[max(y0, 0):y1, max(x0, 0):x1] = rng.integers(1, 256)


def _shutters(canvas: Canvas, style: Style, box: tuple[int, int, int, int]) -> None:
    """Paint a pair of louvred shutters beside a window."""
    x0, y0, x1, y1 = box
    leaf = max((x1 - x0) // 3, 6)
    for left in (x0 - leaf - 5, x1 + 6):
        cv2.rectangle(canvas, (left, y0), (left + leaf, y1), style.sign, -1)
        dark = tuple(int(0.6 * c) for c in style.sign)
        for row in range(y0 + 3, y1, 5):
            cv2.line(canvas, (left + 2, row), (left + leaf - 2, row), dark, 1)


def _balcony(canvas: Canvas, box: tuple[int, int, int, int]) -> None:
    """Paint an iron railing on a slab."""
    x0, y0, x1, y1 = box
    cv2.rectangle(canvas, (x0, y1 - 5), (x1, y1), (150, 146, 140), -1)
    for x in range(x0, x1 + 1, 6):
        cv2.line(canvas, (x, y0), (x, y1 - 5), (36, 36, 40), 1)
    cv2.line(canvas, (x0, y0), (x1, y0), (36, 36, 40), 2)


def paint_sign_board(canvas: Canvas, style: Style, box: tuple[int, int, int, int]) -> None:
    """Paint a board with the name of the house on it."""
    x0, y0, x1, y1 = box
    cv2.rectangle(canvas, (x0, y0), (x1, y1), style.sign, -1)
    light = (245, 240, 226) if sum(style.sign) < 420 else (30, 28, 26)
    (width, height), _ = cv2.getTextSize(style.name, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
    scale = min(0.8 * (x1 - x0) / width, 0.6 * (y1 - y0) / height)
    start = (int((x0 + x1 - width * scale) / 2), int((y0 + y1 + height * scale) / 2))
    cv2.putText(canvas, style.name, start, cv2.FONT_HERSHEY_DUPLEX, scale, light, 2, cv2.LINE_AA)


def paint_door(
    canvas: Canvas, glow: Canvas, style: Style, box: tuple[int, int, int, int],
    rng: np.random.Generator,
) -> None:
    """Paint a door with a light above it."""
    x0, y0, x1, y1 = box
    cv2.rectangle(canvas, (x0 - 4, y0 - 4), (x1 + 4, y1), style.trim, -1)
    shade = tuple(int(c) for c in np.clip(np.array(style.sign) * rng.uniform(0.5, 1.2), 0, 255))
    cv2.rectangle(canvas, (x0, y0 + 16), (x1, y1), shade, -1)
    paint_glass(canvas, glow, (x0, y0, x1, y0 + 15), rng)
    inset = max((x1 - x0) // 6, 2)
    for upper, lower in ((y0 + 22, (y0 + y1) // 2), ((y0 + y1) // 2 + 6, y1 - 8)):
        cv2.rectangle(canvas, (x0 + inset, upper), (x1 - inset, lower), style.frame, 2)
    cv2.circle(canvas, (x1 - inset - 3, (y0 + y1) // 2 + 8), 3, (226, 196, 96), -1)


def paint_graffiti(
    canvas: Canvas, box: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    """Spray a few thick curves."""
    x0, y0, x1, y1 = box
    for _ in range(int(rng.integers(2, 6))):
        colour = tuple(int(c) for c in rng.integers(20, 255, 3))
        points = np.column_stack([
            np.sort(rng.integers(x0, max(x1, x0 + 1), 6)), rng.integers(y0, y1, 6)])
        cv2.polylines(canvas, [points.astype(np.int32).reshape(-1, 1, 2)], False, colour,
                      int(rng.integers(3, 9)), cv2.LINE_AA)
