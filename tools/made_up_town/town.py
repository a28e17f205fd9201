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
The plan of the made-up town: two blocks in a ring of houses.

::

    y 42  +-------------------------------------------+
          |  north street                             |
    y 30  |      +-------------+      +---------+     |
          | west |   block A   | mid  | block B | east|
    y 0   |      +-------------+      +---------+     |
          |  south street                             |
    y -12 +-------------------------------------------+
        x -12    0            40     52        80     92
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import math

import cv2
import numpy as np
from tools.made_up_town import props
from tools.made_up_town.facades import draw_style
from tools.made_up_town.facades import paint_facade
from tools.made_up_town.light import CELL_M
from tools.made_up_town.light import HeightMap
from tools.made_up_town.masonry import Canvas
from tools.made_up_town.masonry import MATERIALS
from tools.made_up_town.masonry import Style
from tools.made_up_town.masonry import value_noise
from tools.made_up_town.pixel_values import rgb
from tools.made_up_town.pixel_values import to_bytes

from vpr_compressed.offline.demo.made_up_town import BLOCKS
from vpr_compressed.offline.demo.made_up_town import Box
from vpr_compressed.offline.demo.made_up_town import HOUSE_DEPTH_M
from vpr_compressed.offline.demo.made_up_town import RING

Point = tuple[float, float]
GROUND_BOX: Box = (-14.0, -14.0, 94.0, 44.0)
GROUND_PIXELS_PER_M = 20
PAVEMENT_M = 2.6


@dataclass(frozen=True)
class Front:
    """One side of a street; ``left`` to ``right`` as seen from the street."""

    left: Point
    right: Point

    @property
    def length_m(self) -> float:
        """Return its length."""
        return math.hypot(self.right[0] - self.left[0], self.right[1] - self.left[1])

    def at(self, along_m: float, out_m: float = 0.0) -> Point:
        """Return the point so far along the front and so far out into the street."""
        ux = (self.right[0] - self.left[0]) / self.length_m
        uy = (self.right[1] - self.left[1]) / self.length_m
        return (self.left[0] + along_m * ux + out_m * uy,
                self.left[1] + along_m * uy - out_m * ux)


@dataclass(frozen=True)
class Town:
    """Everything that can be seen, without any light on it."""

    surfaces: tuple[props.Surface, ...]
    heights: HeightMap
    ground: Canvas


def build_town(seed: int, parking_seed: int) -> Town:
    """
    Build the town.

    :param seed: of everything that stays
    :param parking_seed: of the cars, which stand elsewhere on another day
    """
    rng = np.random.default_rng(seed)
    heights = _empty_heights()
    surfaces: list[props.Surface] = []
    for front in all_fronts():
        surfaces.extend(_row_of_houses(front, rng, heights))
    for front in all_fronts():
        surfaces.extend(_furniture(front, rng, heights))
    parking = np.random.default_rng(parking_seed)
    for front in all_fronts():
        surfaces.extend(_parked_cars(front, parking, heights))
    return Town(tuple(surfaces), heights, _paint_ground(rng))


def all_fronts() -> list[Front]:
    """Return the sides of all streets."""
    fronts = []
    for west, south, east, north in BLOCKS:
        fronts += [Front((west, south), (east, south)), Front((east, south), (east, north)),
                   Front((east, north), (west, north)), Front((west, north), (west, south))]
    west, south, east, north = RING
    fronts += [Front((east, south), (west, south)), Front((west, south), (west, north)),
               Front((west, north), (east, north)), Front((east, north), (east, south))]
    return fronts


def _empty_heights() -> HeightMap:
    """Return a height map of the town and a rim of 10 m, all flat."""
    west, south, east, north = (RING[0] - 10, RING[1] - 10, RING[2] + 10, RING[3] + 10)
    shape = (int((north - south) / CELL_M), int((east - west) / CELL_M))
    return HeightMap(np.zeros(shape, np.float32), west, south)


def _raise(heights: HeightMap, corners: list[Point], height_m: float) -> None:
    """Let everything inside a polygon be at least so high, in place."""
    cells = [((x - heights.west_m) / CELL_M, (y - heights.south_m) / CELL_M) for x, y in corners]
    mask = np.zeros(heights.heights_m.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.array(cells).astype(np.int32), 1)
    np.maximum(heights.heights_m, mask * np.float32(height_m), out=heights.heights_m)


def _widths(length_m: float, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Yield (start, width) of houses that fill a front."""
    count = max(round(length_m / rng.uniform(7.5, 9.5)), 1)
    shares = rng.uniform(0.65, 1.35, count)
    edges = np.concatenate([[0], np.cumsum(shares / shares.sum())]) * length_m
    yield from ((float(a), float(b - a)) for a, b in zip(edges, edges[1:]))


def _row_of_houses(
    front: Front, rng: np.random.Generator, heights: HeightMap
) -> Iterator[props.Surface]:
    """Yield the houses of one front, here and there a garden instead."""
    houses = list(_widths(front.length_m, rng))
    for number, (start, width) in enumerate(houses):
        inner = 0 < number < len(houses) - 1
        if front.length_m > 50 and inner and rng.random() < 0.14:
            yield from _garden(front, start, width, rng)
            continue
        style, height = draw_style(rng), float(rng.uniform(7.5, 13.0))
        if style.material == 'glass':
            height += 2.0
        texture, glow = paint_facade(style, width, height, rng)
        yield props.wall_of(front.at(start), front.at(start + width), height, 0.0, texture, glow)
        yield from _party_walls(front, start, width, height, style, rng)
        eaves = height - (1.2 if style.roof in ('gable', 'steps') else 0.0)
        _raise(heights, [front.at(start), front.at(start + width),
                         front.at(start + width, -HOUSE_DEPTH_M),
                         front.at(start, -HOUSE_DEPTH_M)], eaves)


def _party_walls(
    front: Front, start: float, width: float, height: float, style: Style,
    rng: np.random.Generator,
) -> Iterator[props.Surface]:
    """Yield the two bare side walls of a house, seen above lower neighbours."""
    top = height - (2.2 if style.roof in ('gable', 'steps') else 0.0)
    size = (int(top * 20), int(HOUSE_DEPTH_M * 20))
    wall = props.opaque(MATERIALS['plaster'](size, style.wall, rng))
    # Just inside the house: at a street corner the front of another house has this very plane.
    start, end = start + 0.05, start + width - 0.05
    yield props.wall_of(front.at(start, -HOUSE_DEPTH_M), front.at(start), top, 0.0, wall)
    yield props.wall_of(front.at(end), front.at(end, -HOUSE_DEPTH_M), top, 0.0, wall)


def _garden(
    front: Front, start: float, width: float, rng: np.random.Generator
) -> Iterator[props.Surface]:
    """Yield a low wall, trees behind it and a tall hedge at the back."""
    style = draw_style(rng)
    brick = MATERIALS['brick']((44, int(width * 40)), style.wall, rng)
    brick[:5] = style.trim
    yield props.wall_of(front.at(start), front.at(start + width), 1.1, 0.0, props.opaque(brick))
    back = -HOUSE_DEPTH_M
    yield props.hedge(front.at(start, back), front.at(start + width, back), 5.0, rng)
    for along in np.arange(start + 1.5, start + width - 1, 3.2):
        yield props.tree(*front.at(along, float(rng.uniform(back + 1, -1.5))), rng)


def _furniture(
    front: Front, rng: np.random.Generator, heights: HeightMap
) -> Iterator[props.Surface]:
    """Yield trees, lamps, signs and bins along a pavement."""
    planted = rng.random() < 0.5
    along = float(rng.uniform(2, 6))
    while along < front.length_m - 2:
        x, y = front.at(along, PAVEMENT_M - 0.5)
        kind = rng.random()
        if planted and kind < 0.55:
            yield props.tree(x, y, rng)
            _raise(heights, [front.at(along + a, PAVEMENT_M - 0.5 + b)
                             for a, b in ((-1.4, 0), (0, -1.4), (1.4, 0), (0, 1.4))], 5.0)
        elif kind < 0.7:
            yield props.lamp(x, y)
        elif kind < 0.85:
            yield props.road_sign(x, y, rng)
        else:
            yield props.litter_bin(x, y, rng)
        along += float(rng.uniform(5, 11))


def _parked_cars(
    front: Front, rng: np.random.Generator, heights: HeightMap
) -> Iterator[props.Surface]:
    """Yield cars at the kerb."""
    heading = math.atan2(front.right[1] - front.left[1], front.right[0] - front.left[0])
    along = float(rng.uniform(3, 16))
    while along < front.length_m - 4:
        x, y = front.at(along, PAVEMENT_M - 0.2)
        yield from props.car(x, y, heading + math.pi, rng)
        _raise(heights, [front.at(along + a, PAVEMENT_M - 0.2 + b)
                         for a, b in ((-2, -.8), (2, -.8), (2, .8), (-2, .8))], 1.2)
        along += float(rng.choice([5.2, 13, 22, 31]))


def _paint_ground(rng: np.random.Generator) -> Canvas:
    """Paint asphalt, pavements, markings and repairs, seen from above with north up."""
    scale = GROUND_PIXELS_PER_M
    shape = (int((GROUND_BOX[3] - GROUND_BOX[1]) * scale),
             int((GROUND_BOX[2] - GROUND_BOX[0]) * scale))
    level = 104 + 14 * value_noise(rng, shape, 160, 5) + 5 * rng.standard_normal(shape, np.float32)
    ground = to_bytes(level[..., None] * rgb((1.0, 0.99, 0.96)))
    for _ in range(60):
        _repair(ground, rng)
    west, south, east, north = RING
    slabs = _slabs(shape, rng)
    inner = _mask(shape, (west + PAVEMENT_M, south + PAVEMENT_M, east - PAVEMENT_M,
                          north - PAVEMENT_M))
    paved = inner == 0
    for box in BLOCKS:
        grown = (box[0] - PAVEMENT_M, box[1] - PAVEMENT_M, box[2] + PAVEMENT_M,
                 box[3] + PAVEMENT_M)
        paved |= _mask(shape, grown) > 0
    kerb = cv2.dilate(paved.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    ground[kerb] = (168, 164, 156)
    ground[paved] = slabs[paved]
    _markings(ground)
    return ground


def _to_ground(x_m: float, y_m: float) -> tuple[int, int]:
    """Return the pixel (column, row) of a point in the ground map."""
    return (int((x_m - GROUND_BOX[0]) * GROUND_PIXELS_PER_M),
            int((GROUND_BOX[3] - y_m) * GROUND_PIXELS_PER_M))


def _mask(shape: tuple[int, int], box: Box) -> Canvas:
    """Return a mask of the ground map that is 1 in a box."""
    mask = np.zeros(shape, np.uint8)
    cv2.rectangle(mask, _to_ground(box[0], box[3]), _to_ground(box[2], box[1]), 1, -1)
    return mask


def _slabs(shape: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """Return paving of square slabs, uint8 RGB."""
    size = int(0.5 * GROUND_PIXELS_PER_M)
    y, x = np.ogrid[:shape[0], :shape[1]]
    cells = (shape[0] // size + 1, shape[1] // size + 1)
    table = rng.normal(150, 8, cells).astype(np.float32)
    joint = (y % size == 0) | (x % size == 0)
    level = np.where(joint, np.float32(112), table[y // size, x // size])
    return to_bytes(level[..., None] * rgb((1.0, 0.97, 0.92)))


def _repair(ground: Canvas, rng: np.random.Generator) -> None:
    """Add a patch, a crack or a manhole cover."""
    x, y = int(rng.integers(ground.shape[1])), int(rng.integers(ground.shape[0]))
    kind = int(rng.integers(3))
    if kind == 0:
        size = rng.integers(20, 80, 2)
        cv2.rectangle(ground, (x, y), (x + int(size[0]), y + int(size[1])), (84, 84, 84), -1)
    elif kind == 1:
        path = np.cumsum(rng.integers(-9, 10, (30, 2)), axis=0) + np.array([x, y])
        cv2.polylines(ground, [path.astype(np.int32).reshape(-1, 1, 2)], False, (62, 62, 62), 2)
    else:
        cv2.circle(ground, (x, y), 9, (70, 68, 64), -1)
        cv2.circle(ground, (x, y), 6, (96, 92, 86), 1)


def _markings(ground: Canvas) -> None:
    """Add broken centre lines and zebra crossings."""
    white = (214, 212, 204)
    for x0, y0, x1, y1 in ((2, -6, 84, -6), (2, 36, 84, 36), (-6, 2, -6, 30), (46, 2, 46, 30),
                           (86, 2, 86, 30)):
        length = math.hypot(x1 - x0, y1 - y0)
        for start in np.arange(0, length, 4.0):
            a, b = start / length, min(start + 2.0, length) / length
            cv2.line(ground, _to_ground(x0 + a * (x1 - x0), y0 + a * (y1 - y0)),
                     _to_ground(x0 + b * (x1 - x0), y0 + b * (y1 - y0)), white, 3)
    for x, y in ((46, 1.5), (46, 28.5), (-6, 28.5), (86, 1.5)):
        for across in np.arange(-3.2, 3.3, 0.9):
            cv2.rectangle(ground, _to_ground(x + across, y + 1.2),
                          _to_ground(x + across + 0.45, y - 1.2), white, -1)
