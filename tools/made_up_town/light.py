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


"""Daylight on the town: sun, cast shadows, sky, lamps behind windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from tools.made_up_town.backdrop import Backdrop
from tools.made_up_town.backdrop import pyramid
from tools.made_up_town.masonry import Canvas
from tools.made_up_town.masonry import value_noise
from tools.made_up_town.pixel_values import rgb
from tools.made_up_town.pixel_values import to_bytes
from tools.made_up_town.props import Surface
from tools.made_up_town.renderer import Piece

Rgb = tuple[float, float, float]

#: Cell size of the height map that casts shadows, metres.
CELL_M = 0.25
SHADOW_REACH_M = 55.0
LAMP_RGB = rgb((255, 206, 132))


@dataclass(frozen=True, kw_only=True)
class Light:
    """
    A time of day.

    :param sun_azimuth_rad: where the sun stands, 0 is east, counter-clockwise
    :param sun_elevation_rad: how high it stands
    :param sun_rgb: factor on a surface that faces the sun
    :param ambient_rgb: factor on a surface in the shade
    :param sky_top_rgb: colour of the sky high up
    :param sky_low_rgb: colour at the horizon, and of the haze
    :param cloud_share: 0 is clear
    :param lit_share: share of windows with a lamp behind them
    :param seed: of the clouds
    """

    sun_azimuth_rad: float
    sun_elevation_rad: float
    sun_rgb: Rgb
    ambient_rgb: Rgb
    sky_top_rgb: Rgb
    sky_low_rgb: Rgb
    cloud_share: float
    lit_share: float
    haze_per_m: float
    seed: int

    def direction(self) -> NDArray[np.float64]:
        """Return the unit vector towards the sun."""
        flat = math.cos(self.sun_elevation_rad)
        return np.array([flat * math.cos(self.sun_azimuth_rad),
                         flat * math.sin(self.sun_azimuth_rad),
                         math.sin(self.sun_elevation_rad)])


MORNING = Light(
    sun_azimuth_rad=math.radians(-52), sun_elevation_rad=math.radians(44),
    sun_rgb=(0.74, 0.70, 0.62), ambient_rgb=(0.52, 0.55, 0.60), sky_top_rgb=(88, 142, 206),
    sky_low_rgb=(206, 220, 232), cloud_share=0.35, lit_share=0.02, haze_per_m=0.003, seed=1)
EVENING = Light(
    sun_azimuth_rad=math.radians(196), sun_elevation_rad=math.radians(17),
    sun_rgb=(0.80, 0.55, 0.30), ambient_rgb=(0.53, 0.50, 0.52), sky_top_rgb=(118, 134, 178),
    sky_low_rgb=(250, 206, 164), cloud_share=0.5, lit_share=0.3, haze_per_m=0.004, seed=2)


@dataclass(frozen=True)
class HeightMap:
    """
    How high the town is above every cell of its plan.

    :param heights_m: float32 ``(rows, columns)``, row 0 at the south
    :param west_m: x of column 0
    :param south_m: y of row 0
    """

    heights_m: NDArray[np.float32]
    west_m: float
    south_m: float

    def shadow_height_m(
        self, x_m: NDArray[np.floating], y_m: NDArray[np.floating], light: Light
    ) -> NDArray[np.float32]:
        """
        Return up to which height every point of the plan is in the shadow of something else.

        :param x_m: points, any shape
        :param y_m: the same shape
        """
        toward = light.direction()
        rise = toward[2] / math.hypot(toward[0], toward[1])
        unit = toward[:2] / math.hypot(toward[0], toward[1])
        steps = np.arange(0.6, SHADOW_REACH_M, 2 * CELL_M)
        shape = (*np.shape(x_m), len(steps))
        column = (np.asarray(x_m)[..., None] + unit[0] * steps - self.west_m) / CELL_M
        row = (np.asarray(y_m)[..., None] + unit[1] * steps - self.south_m) / CELL_M
        height, width = self.heights_m.shape
        above = self.heights_m[np.clip(row, 0, height - 1).astype(int),
                               np.clip(column, 0, width - 1).astype(int)]
        reach = above.reshape(shape) - np.float32(rise) * steps.astype(np.float32)
        return np.asarray(np.maximum(reach.max(axis=-1), 0), np.float32)


def lit_pieces(
    surfaces: Sequence[Surface], heights: HeightMap, light: Light
) -> list[Piece]:
    """Return all surfaces as they look in a light, ready to be drawn."""
    return [Piece(origin=s.origin, right=s.right, down=s.down, facing=s.facing, solid=s.solid,
                  levels=pyramid(_lit_texture(s, heights, light))) for s in surfaces]


def lit_backdrop(
    ground: Canvas, box: tuple[float, float, float, float], heights: HeightMap, light: Light
) -> Backdrop:
    """Return sky and ground in a light."""
    grain = np.random.default_rng(5).normal(128, 9, (512, 512))
    return Backdrop(
        ground=pyramid(_lit_ground(ground, box, heights, light)), ground_box=box,
        grain=np.clip(cv2.GaussianBlur(grain, (3, 3), 0.8), 0, 255).astype(np.uint8),
        sky=_sky_panorama(light), haze_rgb=light.sky_low_rgb, haze_per_m=light.haze_per_m)


def _lit_texture(surface: Surface, heights: HeightMap, light: Light) -> Canvas:
    """Return the texture of a surface under sun, shadow and its own lamps."""
    rows, columns = surface.texture.shape[:2]
    sun = _sun_factor(surface, light)
    level = np.empty((rows, 1 if surface.facing else columns, 3), np.float32)
    level[:] = rgb(light.ambient_rgb)
    if sun > 0:
        exposed = _exposed(surface, heights, light)
        level += exposed[..., None] * rgb(light.sun_rgb) * np.float32(sun)
    colours = surface.texture[..., :3] * level
    if surface.glow is not None:
        # Window numbers are random, so a share of the numbers is a share of the windows.
        lit = (surface.glow > 0) & (surface.glow < 255 * light.lit_share)
        colours[lit] = 0.5 * surface.texture[lit, :3] + 0.5 * LAMP_RGB
    return np.dstack([to_bytes(colours), surface.texture[..., 3]])


def _sun_factor(surface: Surface, light: Light) -> float:
    """Return how squarely the sun meets a surface, 0 where it is behind."""
    if surface.facing:
        return 0.6
    normal = np.cross(surface.down, surface.right)
    return max(float(normal @ light.direction() / np.linalg.norm(normal)), 0.0)


def _exposed(surface: Surface, heights: HeightMap, light: Light) -> NDArray[np.float32]:
    """Return the share of sun that reaches every texel, float32 ``(rows, columns or 1)``."""
    rows, columns = surface.texture.shape[:2]
    front = np.cross(surface.down, surface.right)
    front /= np.linalg.norm(front)
    count = 1 if surface.facing else max(int(np.linalg.norm(surface.right) / CELL_M), 2)
    along = (np.arange(count) + 0.5) / count
    points = surface.origin + along[:, None] * surface.right + 0.4 * front
    edge = heights.shadow_height_m(points[:, 0], points[:, 1], light)
    if count > 1:
        edge = np.asarray(cv2.resize(edge[None], (columns, 1)), np.float32)[0]
    z = surface.origin[2] + (np.arange(rows) + 0.5) / rows * surface.down[2]
    return np.asarray(np.clip((z[:, None] - edge[None, :]) / 0.3 + 0.5, 0, 1), np.float32)


def _lit_ground(
    ground: Canvas, box: tuple[float, float, float, float], heights: HeightMap, light: Light
) -> Canvas:
    """Return the map of the ground with cast shadows."""
    rows, columns = ground.shape[:2]
    x = np.arange(box[0], box[2], 2 * CELL_M) + CELL_M
    y = np.arange(box[3], box[1], -2 * CELL_M) - CELL_M
    edge = heights.shadow_height_m(*np.meshgrid(x, y), light)
    shade = np.asarray(cv2.resize((edge > 0.15).astype(np.float32), (columns, rows),
                                  interpolation=cv2.INTER_CUBIC))
    open_sky = np.clip((1 - shade) * 2 - 0.5, 0, 1)[..., None]
    sun = rgb(light.sun_rgb) * np.float32(light.direction()[2])
    return to_bytes(ground * (rgb(light.ambient_rgb) + open_sky * sun))


def _sky_panorama(light: Light) -> Canvas:
    """Paint the sky all round, columns are headings, the last row is the horizon."""
    rng = np.random.default_rng(light.seed)
    rows, columns = 360, 2048
    up = np.linspace(1, 0, rows)[:, None, None] ** 0.6
    sky = rgb(light.sky_low_rgb) * (1 - up) + rgb(light.sky_top_rgb) * up
    sky = np.repeat(sky, columns, axis=1)
    heading = np.linspace(0, 2 * math.pi, columns)[None, :, None]
    toward = np.cos((heading - light.sun_azimuth_rad) / 2) ** 8
    sky = sky * (1 + 0.25 * toward)
    clouds = value_noise(rng, (rows, columns), 220, 5)
    # All round the horizon the last clouds have to meet the first.
    seam = np.linspace(1, 0, 300, dtype=np.float32)
    clouds[:, -300:] = clouds[:, -300:] * seam + clouds[:, 299::-1] * (1 - seam)
    cover = np.clip((clouds + 2 * light.cloud_share - 1) * 1.6, 0, 1)[..., None]
    white = rgb(light.sky_low_rgb) * (1.02 + 0.1 * rgb(light.sun_rgb))
    return to_bytes(sky * (1 - 0.8 * cover) + white * 0.8 * cover)
