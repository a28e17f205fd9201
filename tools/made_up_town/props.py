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


"""Street furniture painted from a seed: trees, parked cars, lamps, signs, hedges."""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from tools.made_up_town.masonry import Canvas
from tools.made_up_town.masonry import Colour
from tools.made_up_town.masonry import SIGNS
from tools.made_up_town.masonry import value_noise
from tools.made_up_town.pixel_values import rgb
from tools.made_up_town.pixel_values import to_bytes

Vector = NDArray[np.float64]

CAR_COLOURS: tuple[Colour, ...] = (
    (176, 30, 34), (36, 60, 120), (216, 216, 212), (40, 42, 46), (120, 126, 130),
    (206, 162, 40), (60, 98, 76), (232, 232, 236), (104, 52, 44))
#: Outline of a car from the side: metres from the tail, metres above the road.
CAR_OUTLINE = ((0.0, 0.25), (0.0, 0.85), (0.5, 0.93), (1.0, 1.42), (2.5, 1.42), (3.2, 0.93),
               (4.1, 0.8), (4.2, 0.25))
CAR_WIDTH_M = 1.7


@dataclass(frozen=True, kw_only=True)
class Surface:
    """
    An unlit flat piece of the town; geometry as in ``renderer.Piece``.

    :param texture: uint8 RGBA
    :param glow: uint8 mask of windows, another value per window; None for none
    :param facing: turns to the camera
    :param solid: no half-transparent pixels
    """

    origin: Vector
    right: Vector
    down: Vector
    texture: Canvas
    glow: Canvas | None = None
    facing: bool = False
    solid: bool = True


def opaque(canvas: Canvas) -> Canvas:
    """Return RGB as RGBA without holes."""
    return np.dstack([canvas, np.full(canvas.shape[:2], 255, np.uint8)])


def flat(colour: Colour, rng: np.random.Generator, size: int = 32) -> Canvas:
    """Return a slightly uneven patch of one colour, uint8 RGBA."""
    level = 1 + 0.05 * value_noise(rng, (size, size), 12)
    return opaque(to_bytes(level[..., None] * rgb(colour)))


def upright(x_m: float, y_m: float, width_m: float, height_m: float, texture: Canvas, *,
            base_m: float = 0.0, solid: bool = True) -> Surface:
    """Return a picture that stands on the ground and turns to the camera."""
    return Surface(
        origin=np.array([x_m - width_m / 2, y_m, base_m + height_m]),
        right=np.array([width_m, 0.0, 0.0]), down=np.array([0.0, 0.0, -height_m]),
        texture=texture, facing=True, solid=solid)


def tree(x_m: float, y_m: float, rng: np.random.Generator) -> Surface:
    """Return a street tree of 5 to 8 m."""
    height, width = 320, 220
    canvas = np.zeros((height, width, 4), np.uint8)
    bark = tuple(int(c) for c in np.array((86, 68, 52)) * rng.uniform(0.7, 1.2))
    cv2.line(canvas, (width // 2, height), (width // 2 + int(rng.integers(-8, 9)), 150),
             (*bark, 255), 12)
    for angle in rng.uniform(-0.9, 0.9, 5):
        tip = (int(width / 2 + 80 * math.sin(angle)), int(190 - 100 * math.cos(angle)))
        cv2.line(canvas, (width // 2, 205), tip, (*bark, 255), 5)
    green = np.array((rng.uniform(50, 110), rng.uniform(88, 128), rng.uniform(30, 56)))
    for (x, y), radius, leaf in zip(*_leaves(rng, green, width)):
        cv2.circle(canvas, (x, y), radius, (*leaf, 255), -1, cv2.LINE_AA)
    size = float(rng.uniform(5.0, 7.5))
    return upright(x_m, y_m, size * width / height, size, canvas, solid=False)


def _leaves(
    rng: np.random.Generator, green: Vector, width: int
) -> tuple[list[list[int]], list[int], list[list[int]]]:
    """Return centres, radii and colours of the tufts of a crown, dark ones at the bottom."""
    count, size = 700, rng.uniform(60, 92)
    angle, reach = rng.uniform(0, 2 * math.pi, count), np.sqrt(rng.random(count))
    centres = np.column_stack([width / 2 + size * reach * np.cos(angle),
                               110 + 0.95 * size * reach * np.sin(angle)])
    light = rng.uniform(0.5, 1.2, count) - 0.4 * reach * np.sin(angle)
    colours = np.clip(green * light[:, None], 8, 250)
    return (centres.astype(int).tolist(), rng.integers(2, 8, count).tolist(),
            colours.astype(int).tolist())


def lamp(x_m: float, y_m: float) -> Surface:
    """Return a street lamp."""
    canvas = np.zeros((400, 40, 4), np.uint8)
    cv2.rectangle(canvas, (18, 40), (22, 400), (52, 56, 60, 255), -1)
    cv2.rectangle(canvas, (15, 360), (25, 400), (44, 48, 52, 255), -1)
    cv2.ellipse(canvas, (20, 30), (15, 16), 0, 0, 360, (236, 232, 208, 255), -1)
    cv2.rectangle(canvas, (4, 8), (36, 16), (44, 48, 52, 255), -1)
    return upright(x_m, y_m, 0.5, 5.0, canvas)


def road_sign(x_m: float, y_m: float, rng: np.random.Generator) -> Surface:
    """Return a round, square or triangular sign on a post."""
    canvas = np.zeros((260, 80, 4), np.uint8)
    cv2.rectangle(canvas, (38, 60), (42, 260), (150, 152, 156, 255), -1)
    red, blue, white = (190, 30, 36, 255), (30, 80, 170, 255), (244, 244, 240, 255)
    kind = int(rng.integers(3))
    if kind == 0:
        cv2.circle(canvas, (40, 40), 38, red, -1)
        cv2.circle(canvas, (40, 40), 28, white, -1)
        cv2.putText(canvas, str(rng.choice(['30', '20', '5'])), (18, 52),
                    cv2.FONT_HERSHEY_DUPLEX, 1.1, (20, 20, 20, 255), 2)
    elif kind == 1:
        cv2.rectangle(canvas, (4, 4), (76, 76), blue, -1)
        cv2.putText(canvas, 'P', (20, 64), cv2.FONT_HERSHEY_DUPLEX, 2.2, white, 4)
    else:
        corners = np.array([[40, 2], [78, 74], [2, 74]], np.int32).reshape(-1, 1, 2)
        cv2.fillPoly(canvas, [corners], red)
        cv2.fillPoly(canvas, [(corners * 0.6 + (16, 20)).astype(np.int32)], white)
    return upright(x_m, y_m, 0.8, 2.6, canvas)


def litter_bin(x_m: float, y_m: float, rng: np.random.Generator) -> Surface:
    """Return a bin, a planter or a post box by the colour drawn."""
    canvas = flat(SIGNS[rng.integers(len(SIGNS))], rng, 64)
    canvas[:10] = (46, 48, 50, 255)
    canvas[10:, ::12] = (60, 60, 62, 255)
    return upright(x_m, y_m, float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.9, 1.3)), canvas)


def wall_of(
    left_m: tuple[float, float], right_m: tuple[float, float], top_m: float, bottom_m: float,
    texture: Canvas, glow: Canvas | None = None, solid: bool = True,
) -> Surface:
    """Return an upright piece between two points of the plan, seen with ``left_m`` at left."""
    return Surface(
        origin=np.array([*left_m, top_m]),
        right=np.array([right_m[0] - left_m[0], right_m[1] - left_m[1], 0.0]),
        down=np.array([0.0, 0.0, bottom_m - top_m]), texture=texture, glow=glow, solid=solid)


def hedge(
    left_m: tuple[float, float], right_m: tuple[float, float], height_m: float,
    rng: np.random.Generator,
) -> Surface:
    """Return a hedge or a far line of trees."""
    length = math.hypot(right_m[0] - left_m[0], right_m[1] - left_m[1])
    shape = (int(height_m * 24), int(length * 24))
    leaf = 0.8 + 0.3 * value_noise(rng, shape, 30, 4)
    leaf += 0.12 * rng.standard_normal(shape, np.float32)
    green = rgb((rng.uniform(50, 90), rng.uniform(86, 116), 44))
    canvas = opaque(to_bytes(leaf[..., None] * green))
    top = (0.3 + 0.2 * value_noise(rng, (1, shape[1]), 60)[0]) * shape[0] * 0.6
    canvas[np.arange(shape[0])[:, None] < top[None, :], 3] = 0
    return wall_of(left_m, right_m, height_m, 0.0, canvas)


def car(x_m: float, y_m: float, yaw_rad: float, rng: np.random.Generator) -> list[Surface]:
    """Return a parked car as a bent sheet of flat pieces between two side pictures."""
    forward = np.array([math.cos(yaw_rad), math.sin(yaw_rad), 0.0])
    left = np.array([-forward[1], forward[0], 0.0])
    colour = CAR_COLOURS[rng.integers(len(CAR_COLOURS))]
    tail = np.array([x_m, y_m, 0.0]) - 2.1 * forward
    side = _car_side(colour)
    up = np.array([0.0, 0.0, 1.45])
    offset = left * CAR_WIDTH_M / 2
    pieces = [
        Surface(origin=tail - offset + up, right=4.2 * forward, down=-up, texture=side),
        Surface(origin=tail + offset + up + 4.2 * forward, right=-4.2 * forward, down=-up,
                texture=np.ascontiguousarray(side[:, ::-1]))]
    for i, (start, stop) in enumerate(zip(CAR_OUTLINE, CAR_OUTLINE[1:])):
        texture = _car_part(i, colour, rng)
        low = tail + start[0] * forward + np.array([0, 0, start[1]])
        high = tail + stop[0] * forward + np.array([0, 0, stop[1]])
        # Seen from behind or above the tail: left edge of the picture is the car's left side.
        pieces.append(Surface(origin=high + offset, right=-2 * offset, down=low - high,
                              texture=texture))
    return pieces


def _car_side(colour: Colour) -> Canvas:
    """Paint the silhouette with windows and wheels; the tail is at the left."""
    scale, height = 60, 87
    canvas = np.zeros((height, int(4.2 * scale), 4), np.uint8)
    outline = np.array([(x * scale, height - z * scale) for x, z in CAR_OUTLINE], np.int32)
    cv2.fillPoly(canvas, [outline.reshape(-1, 1, 2)], (*colour, 255))
    glass = np.array([(0.85, 0.95), (1.12, 1.34), (2.42, 1.34), (2.95, 0.95)])
    glass = np.column_stack([glass[:, 0] * scale, height - glass[:, 1] * scale])
    cv2.fillPoly(canvas, [glass.astype(np.int32).reshape(-1, 1, 2)], (48, 58, 68, 255))
    dark = tuple(int(0.7 * c) for c in colour)
    cv2.line(canvas, (int(1.85 * scale), 8), (int(1.85 * scale), height - 20), (*dark, 255), 3)
    cv2.line(canvas, (4, height - 30), (248, height - 30), (*dark, 255), 2)
    for x in (0.8, 3.4):
        centre = (int(x * scale), height - int(0.32 * scale))
        cv2.circle(canvas, centre, int(0.32 * scale), (26, 26, 28, 255), -1)
        cv2.circle(canvas, centre, int(0.17 * scale), (150, 152, 156, 255), -1)
    return canvas


def _car_part(part: int, colour: Colour, rng: np.random.Generator) -> Canvas:
    """Paint tail, lid, rear window, roof, windscreen, bonnet or nose."""
    canvas = flat(colour, rng, 48)
    if part in (2, 4):
        canvas[4:-4, 5:-5] = (58, 70, 82, 255)
    if part in (0, 6):
        lamps = (190, 30, 30, 255) if part == 0 else (236, 232, 214, 255)
        canvas[8:18, 3:12] = canvas[8:18, -12:-3] = lamps
        canvas[24:32, 14:34] = (224, 224, 210, 255)
    return canvas
