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

"""What is behind all flat pieces of the town: the sky and the ground."""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from tools.made_up_town.camera import Camera
from tools.made_up_town.camera import FloatImage
from tools.made_up_town.pixel_values import rgb
from tools.made_up_town.pixel_values import to_bytes

from vpr_compressed.records import ImageArray

FAR_M = 90.0


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """
    What is behind all pieces.

    :param ground: uint8 RGB maps of the ground from above, row 0 north, each level half as big
    :param ground_box: west, south, east, north of the ground map, metres
    :param grain: uint8 tile of fine detail, 128 is neutral, repeated over the ground
    :param sky: uint8 RGB panorama; columns are headings, rows elevations from 60 degrees to 0
    :param haze_rgb: colour of far things
    :param haze_per_m: how fast they take it on
    """

    ground: tuple[NDArray[np.uint8], ...]
    ground_box: tuple[float, float, float, float]
    grain: NDArray[np.uint8]
    sky: NDArray[np.uint8]
    haze_rgb: tuple[float, float, float]
    haze_per_m: float


def pyramid(texture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Return the texture and ever smaller copies of it, each half the size."""
    levels = [texture]
    while min(levels[-1].shape[:2]) > 16 and len(levels) < 7:
        height, width = levels[-1].shape[:2]
        smaller = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(smaller, np.uint8))
    return tuple(levels)


def draw_backdrop(camera: Camera, backdrop: Backdrop) -> tuple[ImageArray, FloatImage]:
    """Return sky and ground, and 1 / depth of the ground (0 for the sky)."""
    x = (np.arange(camera.width) - (camera.width - 1) / 2) / camera.focal_px
    y = (np.arange(camera.height) - (camera.height - 1) / 2) / camera.focal_px
    across, along = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    basis = camera.rotation().astype(np.float32)
    east, north, up = (across * basis[0, i] + along * basis[1, i] + basis[2, i] for i in range(3))
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    inverse_depth = np.zeros((camera.height, camera.width), np.float32)
    first = int(np.flatnonzero((up < -0.004).any(axis=1)).min(initial=camera.height))
    # Down to the first row that is ground all over: a pixel at the horizon is sky or ground.
    last = int(np.flatnonzero((up >= -0.004).any(axis=1)).max(initial=0)) + 1
    sky_rows = slice(0, last)
    image[sky_rows] = _sky(east[sky_rows], north[sky_rows], up[sky_rows], backdrop.sky)
    for top, bottom in _ground_bands(first, camera.height):
        rows = slice(top, bottom)
        nearness = np.maximum(-up[rows] / camera.position_m[2], 1e-6)
        colours = _ground(camera, east[rows] / nearness, north[rows] / nearness, backdrop)
        below = (up[rows] < -0.004).astype(np.uint8)
        cv2.copyTo(colours, below, image[rows])
        cv2.copyTo(nearness.astype(np.float32), below, inverse_depth[rows])
    return image, inverse_depth


def _ground_bands(first: int, height: int) -> list[tuple[int, int]]:
    """Return row ranges from the horizon down, each twice as high as the one above."""
    bands, step = [], 6
    while first < height:
        bands.append((first, min(first + step, height)))
        first, step = first + step, step * 2
    return bands


def _ground(
    camera: Camera, east_m: FloatImage, north_m: FloatImage, backdrop: Backdrop
) -> NDArray[np.uint8]:
    """Look the ground up at offsets from the camera, uint8 RGB."""
    west, _, east, north = backdrop.ground_box
    middle = (len(east_m) - 1) // 2, east_m.shape[1] // 2
    distance = float(np.hypot(east_m[middle], north_m[middle]))
    per_m = backdrop.ground[0].shape[1] / (east - west)
    # A pixel of the ground is distance^2 / (focal length x camera height) long.
    long_px = distance ** 2 / (camera.focal_px * camera.position_m[2]) * per_m * 0.5
    level = int(np.clip(round(math.log2(max(long_px, 1.0))), 0, len(backdrop.ground) - 1))
    texture = backdrop.ground[level]
    scale = texture.shape[1] / (east - west)
    u = (east_m + np.float32(camera.position_m[0] - west)) * np.float32(scale)
    v = (np.float32(north - camera.position_m[1]) - north_m) * np.float32(scale)
    colours = np.asarray(cv2.remap(texture, u, v, cv2.INTER_LINEAR,
                                   borderMode=cv2.BORDER_REPLICATE), np.uint8)
    if distance > 14:
        return colours
    period = len(backdrop.grain)
    fine = np.float32(90.0)
    tile = cv2.remap(backdrop.grain, np.mod((east_m + np.float32(camera.position_m[0])) * fine,
                                            period).astype(np.float32),
                     np.mod((north_m + np.float32(camera.position_m[1])) * fine,
                            period).astype(np.float32),
                     cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(cv2.multiply(colours, cv2.merge([tile] * 3), scale=1 / 128), np.uint8)


def _sky(
    east: FloatImage, north: FloatImage, up: FloatImage, panorama: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Look the sky up in view directions, uint8 RGB."""
    height, width = panorama.shape[:2]
    heading = np.asarray(cv2.phase(east, north), np.float32)
    u = heading * np.float32(width / (2 * math.pi))
    slope = up / np.sqrt(east * east + north * north)
    v = (1 - np.clip(slope / np.float32(math.tan(math.pi / 3)), 0, 1)) * (height - 1)
    return np.asarray(cv2.remap(panorama, u, v.astype(np.float32), cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_WRAP), np.uint8)


def add_haze(image: ImageArray, inverse_depth: FloatImage, backdrop: Backdrop) -> ImageArray:
    """Return the picture with far things paler; the sky is hazy already."""
    depth = 1 / np.maximum(inverse_depth, 1 / FAR_M)
    clear = np.where(inverse_depth > 0, np.exp(-backdrop.haze_per_m * depth), 1)[..., None]
    return to_bytes(image * clear + rgb(backdrop.haze_rgb) * (1 - clear))
