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
Perspective pictures of a town of flat, textured pieces, with a depth buffer.

World axes follow REP-103: x east, y north, z up, metres. The camera looks along its heading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from tools.made_up_town.backdrop import add_haze
from tools.made_up_town.backdrop import Backdrop
from tools.made_up_town.backdrop import draw_backdrop
from tools.made_up_town.backdrop import FAR_M
from tools.made_up_town.camera import Camera
from tools.made_up_town.camera import FloatImage
from tools.made_up_town.camera import Vector

from vpr_compressed.records import ImageArray

NEAR_M = 0.25
#: A piece is cut in two where its far end is this many times as far away as its near end, so
#: that each part can be shrunk by one factor before it is warped.
SPLIT_RATIO = 1.5


@dataclass(frozen=True, kw_only=True)
class Piece:
    """
    A flat, textured parallelogram, ready to be drawn.

    :param origin: its upper left corner as seen from the front, metres
    :param right: edge to the upper right corner
    :param down: edge to the lower left corner
    :param levels: uint8 RGBA textures, each half the size of the one before
    :param facing: turn about the vertical through its middle to face the camera
    :param solid: it has no half-transparent pixels
    """

    origin: Vector
    right: Vector
    down: Vector
    levels: tuple[NDArray[np.uint8], ...]
    facing: bool = False
    solid: bool = True


@dataclass(frozen=True)
class _Strip:
    """A part of a piece from texture fraction ``start`` to ``stop``, with its corners."""

    piece: Piece
    start: float
    stop: float
    corners: Vector   # (4, 3) camera axes: upper left, upper right, lower right, lower left


class Scene:
    """All pieces of a town and what is behind them."""

    def __init__(self, pieces: Sequence[Piece], backdrop: Backdrop) -> None:
        """
        Prepare for drawing.

        :param pieces: in any order
        """
        self._pieces = list(pieces)
        self._backdrop = backdrop
        self._origins = np.array([piece.origin for piece in pieces])
        self._rights = np.array([piece.right for piece in pieces])
        self._downs = np.array([piece.down for piece in pieces])
        self._facing = np.array([piece.facing for piece in pieces])
        self._fronts = np.cross(self._downs, self._rights)

    def render(self, camera: Camera) -> ImageArray:
        """
        Draw what a camera sees.

        :returns: uint8 RGB ``(height, width, 3)``, without noise or lens faults
        """
        image, inverse_depth = draw_backdrop(camera, self._backdrop)
        strips: list[_Strip] = []
        for number, corners in self._visible(camera):
            strips.extend(_cut(self._pieces[number], corners, 0.0, 1.0))
        strips.sort(key=lambda strip: float(strip.corners[:, 2].min()))
        intrinsics = camera.intrinsics()
        for strip in (s for s in strips if s.piece.solid):
            _draw(strip, intrinsics, image, inverse_depth)
        for strip in (s for s in reversed(strips) if not s.piece.solid):
            _draw(strip, intrinsics, image, inverse_depth)
        return add_haze(image, inverse_depth, self._backdrop)

    def _visible(self, camera: Camera) -> list[tuple[int, Vector]]:
        """Return number and corners in camera axes of every piece that may be in view."""
        eye = np.array(camera.position_m)
        origins, rights = self._turned(eye)
        tops = origins - eye
        corners = np.stack(
            [tops, tops + rights, tops + rights + self._downs, tops + self._downs], axis=1)
        corners = corners @ camera.rotation().T                       # (P, 4, 3)
        x, y, z = np.moveaxis(corners, 2, 0)
        wide, high = camera.width / 2 / camera.focal_px, camera.height / 2 / camera.focal_px
        hidden = ((z < NEAR_M).all(1) | (z > FAR_M).all(1) | (np.abs(x) > wide * z).all(1)
                  & ((x > 0).all(1) | (x < 0).all(1)) | (y > high * z).all(1)
                  | (-y > high * z).all(1))
        turned_away = (self._fronts * tops).sum(axis=1) >= 0
        keep = ~hidden & (self._facing | ~turned_away)
        return [(int(number), corners[number]) for number in np.flatnonzero(keep)]

    def _turned(self, eye: Vector) -> tuple[Vector, Vector]:
        """Return upper left corners and right edges with the facing pieces turned."""
        middles = self._origins + self._rights / 2
        away = middles[:, :2] - eye[:2]
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        lengths = np.linalg.norm(self._rights, axis=1, keepdims=True)
        across = np.column_stack([away[:, 1], -away[:, 0], np.zeros(len(away))]) * lengths
        facing = self._facing[:, None]
        return (np.where(facing, middles - across / 2, self._origins),
                np.where(facing, across, self._rights))


def _cut(piece: Piece, corners: Vector, start: float, stop: float) -> list[_Strip]:
    """
    Cut a piece into strips in front of the camera, each of nearly one distance.

    :param corners: of the part from ``start`` to ``stop``, camera axes, ``(4, 3)``
    """
    depths = corners[:, 2].tolist()
    near, far = min(depths), max(depths)
    if far < NEAR_M or near > FAR_M:
        return []
    length = math.dist(corners[0], corners[1])
    if length > 0.2 and far > SPLIT_RATIO * max(near, NEAR_M):
        middle, top, bottom = (start + stop) / 2, corners[:2].mean(0), corners[2:].mean(0)
        left = np.array([corners[0], top, bottom, corners[3]])
        right = np.array([top, corners[1], corners[2], bottom])
        return _cut(piece, left, start, middle) + _cut(piece, right, middle, stop)
    return [_Strip(piece, start, stop, corners)] if near > NEAR_M else []


def _draw(
    strip: _Strip, intrinsics: Vector, image: ImageArray, inverse_depth: FloatImage
) -> None:
    """Draw one strip where nothing nearer has been drawn, in place."""
    projected = strip.corners @ intrinsics.T
    outline = (projected[:, :2] / projected[:, 2:]).astype(np.float32)
    height, width = inverse_depth.shape
    x0, y0 = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(outline.max(axis=0)) + 1, (width, height)).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    box = (slice(y0, y1), slice(x0, x1))
    if float(1 / strip.corners[:, 2].min()) <= float(inverse_depth[box].min()):
        return
    nearness = _plane_nearness(strip, intrinsics, (x0, y0, x1, y1))
    inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
    shifted = np.round((outline - (x0, y0)) * 16).astype(np.int32)
    cv2.fillConvexPoly(inside, shifted, 255, cv2.LINE_8, 4)
    inside[nearness <= inverse_depth[box]] = 0
    colours = _warp(strip, outline, (x0, y0, x1, y1))
    if strip.piece.solid:
        inside[colours[..., 3] < 128] = 0
        cv2.copyTo(nearness, inside, inverse_depth[box])
        cv2.copyTo(np.ascontiguousarray(colours[..., :3]), inside, image[box])
    else:
        weight = (colours[..., 3:] * (inside[..., None] > 0)).astype(np.float32) / 255
        blended = image[box] * (1 - weight) + colours[..., :3] * weight
        image[box] = blended.astype(np.uint8)
        cv2.copyTo(nearness, (weight[..., 0] > 0.5).astype(np.uint8), inverse_depth[box])


def _plane_nearness(
    strip: _Strip, intrinsics: Vector, box: tuple[int, int, int, int]
) -> FloatImage:
    """Return 1 / depth of the strip's plane for every pixel of a box; affine in the pixel."""
    normal = np.cross(strip.corners[1] - strip.corners[0], strip.corners[3] - strip.corners[0])
    a, b, c = (normal @ np.linalg.inv(intrinsics)) / float(normal @ strip.corners[0])
    rows = np.arange(box[1], box[3])[:, None]
    return np.asarray(a * np.arange(box[0], box[2]) + b * rows + c, np.float32)


def _warp(
    strip: _Strip, outline: NDArray[np.float32], box: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Return the strip's texture as the camera sees it, uint8 RGBA of the box."""
    tall = max(float(np.linalg.norm(outline[3] - outline[0])),
               float(np.linalg.norm(outline[2] - outline[1])), 2.0)
    wide = max(float(np.linalg.norm(outline[1] - outline[0])),
               float(np.linalg.norm(outline[2] - outline[3])), 2.0)
    levels = strip.piece.levels
    level = int(np.clip(math.log2(max(levels[0].shape[0] / tall, 1.0)), 0, len(levels) - 1))
    texture = levels[level]
    columns = texture.shape[1]
    first = min(int(strip.start * columns), columns - 1)
    last = max(math.ceil(strip.stop * columns), first + 1)
    part = np.ascontiguousarray(texture[:, first:last])
    scale_x = min(1.0, max(wide / part.shape[1], 2 / part.shape[1]))
    scale_y = min(1.0, tall / part.shape[0])
    if scale_x < 0.8 or scale_y < 0.8:
        size = (max(int(part.shape[1] * scale_x), 1), max(int(part.shape[0] * scale_y), 1))
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    left = (strip.start * columns - first) / (last - first) * part.shape[1] - 0.5
    right = (strip.stop * columns - first) / (last - first) * part.shape[1] - 0.5
    source = np.array([[left, -0.5], [right, -0.5], [right, part.shape[0] - 0.5],
                       [left, part.shape[0] - 0.5]], np.float32)
    target = outline - np.array(box[:2], np.float32)
    matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    warped = cv2.warpPerspective(part, matrix, (box[2] - box[0], box[3] - box[1]),
                                 flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
