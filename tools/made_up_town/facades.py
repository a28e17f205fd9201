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

"""House fronts painted from a seed: a style is drawn, then floors, ground floor and roof."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from tools.made_up_town.masonry import Canvas
from tools.made_up_town.masonry import MATERIALS
from tools.made_up_town.masonry import NAMES
from tools.made_up_town.masonry import pixels
from tools.made_up_town.masonry import SIGNS
from tools.made_up_town.masonry import Style
from tools.made_up_town.masonry import TRIMS
from tools.made_up_town.masonry import WALLS
from tools.made_up_town.openings import paint_door
from tools.made_up_town.openings import paint_glass
from tools.made_up_town.openings import paint_graffiti
from tools.made_up_town.openings import paint_sign_board
from tools.made_up_town.openings import paint_window

ROOFS = ['cornice', 'parapet', 'gable', 'steps', 'mansard']


def draw_style(rng: np.random.Generator) -> Style:
    """Draw the look of a house."""
    wall = np.array(WALLS[rng.integers(len(WALLS))]) * rng.uniform(0.85, 1.1)
    wall = np.clip(wall + rng.integers(-8, 9, 3), 30, 240)
    material = str(rng.choice(list(MATERIALS), p=(0.3, 0.28, 0.17, 0.1, 0.15)))
    roofs = ['cornice', 'parapet'] if material == 'glass' else ROOFS
    return Style(
        material=material,
        ground_floor=str(rng.choice(list(GROUND_FLOORS), p=(0.45, 0.2, 0.12, 0.13, 0.1))),
        roof=str(rng.choice(roofs)),
        wall=(int(wall[0]), int(wall[1]), int(wall[2])),
        trim=TRIMS[rng.integers(len(TRIMS))],
        frame=TRIMS[rng.integers(len(TRIMS))],
        sign=SIGNS[rng.integers(len(SIGNS))],
        name=NAMES[rng.integers(len(NAMES))],
        floor_m=float(rng.uniform(2.7, 3.5)),
        bay_m=float(rng.uniform(1.7, 3.0)),
        window_m=(float(rng.uniform(0.8, 1.5)), float(rng.uniform(1.2, 1.9))),
        arched=bool(rng.random() < 0.25),
        shutters=bool(rng.random() < 0.3),
        balconies=bool(rng.random() < 0.2),
        bands=bool(rng.random() < 0.5),
        panes=int(rng.integers(1, 4)))


def paint_facade(
    style: Style, width_m: float, height_m: float, rng: np.random.Generator
) -> tuple[Canvas, Canvas]:
    """
    Paint one house front, seen square on.

    :returns: texture uint8 RGBA ``(h, w, 4)``, alpha 0 where there is no house; and a mask
        uint8 ``(h, w)`` of the panes behind which a lamp may burn, another value per window
    """
    shape = (pixels(height_m), pixels(width_m))
    canvas = MATERIALS[style.material](shape, style.wall, rng)
    glow = np.zeros(shape, np.uint8)
    ground_top = shape[0] - pixels(3.4)
    roof_end = pixels(2.2 if style.roof in ('gable', 'mansard', 'steps') else 0.9)
    if style.material != 'glass':
        _upper_floors(canvas, glow, style, roof_end, ground_top, rng)
    GROUND_FLOORS[style.ground_floor](canvas, glow, style, ground_top, rng)
    _weather(canvas, rng)
    alpha = _roof(canvas, style, roof_end)
    return np.dstack([canvas, alpha]), glow


def _upper_floors(
    canvas: Canvas, glow: Canvas, style: Style, top: int, bottom: int, rng: np.random.Generator
) -> None:
    """Paint the windows of all floors between two rows."""
    width = canvas.shape[1]
    floors = max(int((bottom - top) / pixels(style.floor_m)), 1)
    bays = max(int(width / pixels(style.bay_m)), 1)
    pitch = (bottom - top) / floors
    size = (min(pixels(style.window_m[0]), int(width / bays * 0.75)),
            min(pixels(style.window_m[1]), int(pitch * 0.72)))
    for floor in range(floors):
        middle = int(top + (floor + 0.52) * pitch)
        if style.bands:
            row = int(top + (floor + 1) * pitch)
            cv2.rectangle(canvas, (0, row - 7), (width, row), style.trim, -1)
            cv2.line(canvas, (0, row + 1), (width, row + 1), (60, 56, 54), 2)
        for bay in range(bays):
            centre = (int((bay + 0.5) * width / bays), middle)
            paint_window(canvas, glow, style, centre, size, rng)


def _shop(
    canvas: Canvas, glow: Canvas, style: Style, top: int, rng: np.random.Generator
) -> None:
    """Paint a shop: sign, display window with goods, door, perhaps an awning."""
    height, width = canvas.shape[:2]
    cv2.rectangle(canvas, (0, top), (width, height), style.trim, -1)
    cv2.rectangle(canvas, (8, top + 6), (width - 8, height), style.sign, -1)
    paint_sign_board(canvas, style, (14, top + 8, width - 14, top + 36))
    split = int(width * rng.uniform(0.55, 0.8))
    window = (18, top + 44, split, height - 22)
    paint_glass(canvas, glow, window, rng)
    for x in range(window[0] + 6, window[2] - 10, 16):
        goods = int(rng.integers(10, 34))
        colour = tuple(int(c) for c in rng.integers(40, 230, 3))
        cv2.rectangle(canvas, (x, window[3] - goods), (x + 11, window[3]), colour, -1)
    leaf = min(width - 18, split + 10 + pixels(1.3))
    paint_door(canvas, glow, style, (split + 10, top + 44, leaf, height), rng)
    if rng.random() < 0.5:
        for i, x in enumerate(range(10, width - 20, 14)):
            colour = style.sign if i % 2 else (238, 234, 224)
            cv2.rectangle(canvas, (x, top + 38), (x + 14, top + 62), colour, -1)
        cv2.line(canvas, (10, top + 63), (width - 10, top + 63), (44, 42, 40), 3)


def _hall(
    canvas: Canvas, glow: Canvas, style: Style, top: int, rng: np.random.Generator
) -> None:
    """Paint a plinth with a front door between windows."""
    height, width = canvas.shape[:2]
    cv2.rectangle(canvas, (0, height - pixels(0.6)), (width, height), (104, 100, 96), -1)
    count = max(width // pixels(2.1), 2)
    entrance = int(rng.integers(count))
    for bay in range(count):
        centre = int((bay + 0.5) * width / count)
        if bay == entrance:
            paint_door(canvas, glow, style, (centre - 22, top + 36, centre + 22, height), rng)
        else:
            size = (min(48, width // count - 14), 62)
            paint_window(canvas, glow, style, (centre, top + 60), size, rng)


def _garage(
    canvas: Canvas, _glow: Canvas, style: Style, top: int, rng: np.random.Generator
) -> None:
    """Paint roller shutters with graffiti."""
    height, width = canvas.shape[:2]
    count = max(width // pixels(3.4), 1)
    for gate in range(count):
        x0, x1 = int((gate + 0.1) * width / count), int((gate + 0.9) * width / count)
        cv2.rectangle(canvas, (x0 - 5, top + 20), (x1 + 5, height), style.trim, -1)
        cv2.rectangle(canvas, (x0, top + 26), (x1, height), style.frame, -1)
        for row in range(top + 28, height, 7):
            cv2.line(canvas, (x0, row), (x1, row), (88, 86, 84), 1)
        paint_graffiti(canvas, (x0 + 4, top + 44, x1 - 4, height - 10), rng)


def _arcade(
    canvas: Canvas, glow: Canvas, style: Style, top: int, rng: np.random.Generator
) -> None:
    """Paint deep arches on pillars."""
    height, width = canvas.shape[:2]
    cv2.rectangle(canvas, (0, top), (width, height), style.trim, -1)
    count = max(width // pixels(2.6), 1)
    for arch in range(count):
        centre = int((arch + 0.5) * width / count)
        half = int(0.38 * width / count)
        cv2.rectangle(canvas, (centre - half, top + 50), (centre + half, height), (52, 48, 46), -1)
        cv2.ellipse(canvas, (centre, top + 51), (half, 38), 0, 180, 360, (52, 48, 46), -1)
        if rng.random() < 0.6:
            leaf = min(half // 2, 24)
            box = (centre - leaf, top + 62, centre + leaf, height)
            paint_door(canvas, glow, style, box, rng)


def _mural(
    canvas: Canvas, _glow: Canvas, style: Style, top: int, rng: np.random.Generator
) -> None:
    """Paint a blank ground floor with posters and a big mural above it."""
    height, width = canvas.shape[:2]
    for _ in range(14):
        colour = tuple(int(c) for c in rng.integers(50, 215, 3))
        centre = (int(rng.integers(0, width)), int(rng.integers(top // 2, height - 40)))
        axes = (int(rng.integers(12, 70)), int(rng.integers(12, 70)))
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1,
                    cv2.LINE_AA)
    for x in range(20, width - 40, 44):
        if rng.random() < 0.6:
            paper = tuple(int(c) for c in rng.integers(120, 255, 3))
            cv2.rectangle(canvas, (x, height - 84), (x + 32, height - 40), paper, -1)
            cv2.rectangle(canvas, (x + 4, height - 78), (x + 28, height - 60), style.sign, -1)
    paint_graffiti(canvas, (0, top + 20, width, height - 10), rng)


GROUND_FLOORS: dict[
    str, Callable[[Canvas, Canvas, Style, int, np.random.Generator], None]] = {
    'shop': _shop, 'hall': _hall, 'garage': _garage, 'arcade': _arcade, 'mural': _mural,
}


def _weather(canvas: Canvas, rng: np.random.Generator) -> None:
    """Darken the foot of the wall and streak it, in place."""
    height, width = canvas.shape[:2]
    foot = np.clip((np.arange(height) - height + 30) / 30, 0, 1)[:, None]
    streaks = cv2.GaussianBlur(rng.normal(0, 1, (1, width)).astype(np.float32), (9, 1), 2)
    level = 1 - 0.25 * foot + 0.05 * np.asarray(streaks)
    canvas[:] = np.clip(canvas * level[..., None].astype(np.float32), 0, 255)


def _roof(canvas: Canvas, style: Style, end: int) -> Canvas:
    """Paint the top of the house and return its outline as alpha, ``(h, w)``."""
    height, width = canvas.shape[:2]
    alpha = np.full((height, width), 255, np.uint8)
    x = np.abs(np.arange(width) - width / 2) / (width / 2)
    if style.roof == 'mansard':
        cv2.rectangle(canvas, (0, 0), (width, end - 8), (78, 80, 88), -1)
        for row in range(0, end - 8, 8):
            cv2.line(canvas, (0, row), (width, row), (62, 62, 70), 1)
        for centre in range(pixels(1.2), width - pixels(0.8), pixels(2.4)):
            cv2.rectangle(canvas, (centre - 22, 22), (centre + 22, end - 12), style.trim, -1)
            cv2.rectangle(canvas, (centre - 15, 32), (centre + 15, end - 16), (66, 78, 92), -1)
    outline = {'gable': x, 'steps': np.floor(x * 5) / 5}.get(style.roof)
    if outline is not None:
        alpha[np.arange(height)[:, None] < outline[None, :] * (end - 4)] = 0
    elif style.roof != 'mansard':
        cv2.rectangle(canvas, (0, 0), (width, 14), style.trim, -1)
    cv2.rectangle(canvas, (0, end - 8), (width, end - 2), style.trim, -1)
    cv2.line(canvas, (0, end), (width, end), (52, 50, 48), 3)
    return alpha
