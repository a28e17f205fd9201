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

"""What houses are made of: palettes, the style of one house, and wall materials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from tools.made_up_town.pixel_values import rgb
from tools.made_up_town.pixel_values import to_bytes

#: Texture resolution of everything vertical, pixels per metre.
PIXELS_PER_M = 40
Colour = tuple[int, int, int]
Canvas = NDArray[np.uint8]

WALLS: tuple[Colour, ...] = (
    (158, 82, 62), (196, 164, 120), (222, 210, 186), (142, 150, 160), (112, 70, 58),
    (206, 182, 92), (120, 146, 126), (176, 128, 132), (226, 226, 220), (90, 104, 124),
    (188, 110, 70), (150, 140, 122), (128, 100, 82), (204, 150, 126), (98, 122, 112))

TRIMS: tuple[Colour, ...] = (
    (236, 232, 222), (70, 66, 62), (190, 176, 150), (120, 52, 44), (52, 78, 64))

SIGNS: tuple[Colour, ...] = (
    (178, 34, 40), (24, 82, 150), (22, 108, 74), (230, 176, 32), (64, 44, 88), (32, 34, 38),
    (214, 96, 30), (20, 120, 132))

NAMES = (
    'BAKERY', 'CYCLES', 'OPTICS', 'CAFE LUNA', 'BOOKS', 'HOTEL NORD', 'PHARMACY', 'TAILOR',
    'RADIO', 'TEA ROOM', 'FLOWERS', 'PIZZA', 'RECORDS', 'BARBER', 'SHOES', 'TOYS', 'LOCKS',
    'BANK', 'MUSEUM', 'FISH', 'THEATRE', 'PAINT', 'CLOCKS', 'GUITARS', 'LAUNDRY', 'MAPS')


@dataclass(frozen=True, kw_only=True)
class Style:
    """What one house looks like; lengths in metres."""

    material: str
    ground_floor: str
    roof: str
    wall: Colour
    trim: Colour
    frame: Colour
    sign: Colour
    name: str
    floor_m: float
    bay_m: float
    window_m: tuple[float, float]
    arched: bool
    shutters: bool
    balconies: bool
    bands: bool
    panes: int


def pixels(length_m: float) -> int:
    """Return a length in metres as whole texture pixels."""
    return round(length_m * PIXELS_PER_M)


def value_noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: int, octaves: int = 3
) -> NDArray[np.float32]:
    """
    Return smooth noise of about unit range.

    :param cell: size in pixels of the coarsest blobs
    :returns: float32 of ``shape``, mean near 0
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = max(cell >> octave, 1)
        grid = 2 * rng.random((shape[0] // size + 2, shape[1] // size + 2), np.float32) - 1
        smooth = cv2.resize(grid, (shape[1], shape[0]),
                            interpolation=cv2.INTER_CUBIC)
        total += np.asarray(smooth, np.float32) / 2 ** octave
    return total


def tint(colour: Colour, brightness: NDArray[np.floating]) -> Canvas:
    """Return ``colour`` times a brightness map, uint8 RGB."""
    return to_bytes(np.asarray(brightness, np.float32)[..., None] * rgb(colour))


def _brickwork(
    shape: tuple[int, int], colour: Colour, rng: np.random.Generator, size: tuple[int, int],
    contrast: float,
) -> Canvas:
    """Return a bonded wall of bricks or blocks, ``size`` = (rows, columns) of pixels each."""
    y, x = np.ogrid[:shape[0], :shape[1]]
    row = y // size[0]
    shifted = x + (row % 2) * (size[1] // 2)
    cells = (shape[0] // size[0] + 1, shape[1] // size[1] + 2)
    table = rng.normal(1.0, contrast, cells).astype(np.float32)
    brightness = table[row, shifted // size[1]] + 0.07 * value_noise(rng, shape, 60)
    joint = (y % size[0] == 0) | (shifted % size[1] == 0)
    return tint(colour, np.where(joint, np.float32(0.74), brightness))


def _plaster(shape: tuple[int, int], colour: Colour, rng: np.random.Generator) -> Canvas:
    """Return rendered wall with stains."""
    grain = 0.02 * rng.standard_normal(shape, np.float32)
    return tint(colour, 1 + 0.1 * value_noise(rng, shape, 100, 4) + grain)


def _boards(shape: tuple[int, int], colour: Colour, rng: np.random.Generator) -> Canvas:
    """Return horizontal wooden boards."""
    board = pixels(0.22)
    rows = np.arange(shape[0])
    level = rng.normal(1.0, 0.08, shape[0] // board + 1)[rows // board]
    level = np.where(rows % board == 0, 0.6, level)
    return tint(colour, level[:, None] + 0.05 * value_noise(rng, shape, 40))


def _glass(shape: tuple[int, int], colour: Colour, rng: np.random.Generator) -> Canvas:
    """Return a curtain wall: panes that mirror a bright sky above and houses below."""
    rows, columns = pixels(rng.uniform(1.5, 3.2)), pixels(rng.uniform(1.0, 1.7))
    y, x = np.ogrid[:shape[0], :shape[1]]
    pane = rng.normal(0, 0.13, (shape[0] // rows + 1, shape[1] // columns + 1))
    mirrored = 0.95 - 0.5 * y / shape[0] + 0.14 * value_noise(rng, shape, 150)
    brightness = mirrored + pane[y // rows, x // columns]
    blue = (int(0.5 * colour[0] + 50), int(0.5 * colour[1] + 78), int(0.5 * colour[2] + 96))
    canvas = tint(blue, brightness)
    canvas[(y % rows < 4) | (x % columns < 3)] = rng.integers(40, 200)
    return canvas


MATERIALS: dict[str, Callable[[tuple[int, int], Colour, np.random.Generator], Canvas]] = {
    'brick': lambda shape, colour, rng: _brickwork(shape, colour, rng, (4, 11), 0.11),
    'plaster': _plaster,
    'stone': lambda shape, colour, rng: _brickwork(shape, colour, rng, (18, 36), 0.06),
    'glass': _glass,
    'boards': _boards,
}
