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

"""A pinhole camera in the town; x east, y north, z up, metres."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
FloatImage = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """
    A pinhole camera somewhere in the town.

    :param position_m: x, y, z of the optical centre
    :param yaw_rad: heading, 0 is east, counter-clockwise
    :param pitch_rad: positive looks up
    :param roll_rad: positive tips the camera to its right
    """

    position_m: tuple[float, float, float]
    yaw_rad: float
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    width: int = 640
    height: int = 480
    focal_px: float = 400.0

    def rotation(self) -> Vector:
        """Return the matrix from world to camera axes (x right, y down, z forward)."""
        cy, sy = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        cr, sr = math.cos(self.roll_rad), math.sin(self.roll_rad)
        right = np.array([sy, -cy, 0.0])
        forward = np.array([cy * cp, sy * cp, sp])
        down = np.cross(forward, right)
        return np.array([cr * right + sr * down, cr * down - sr * right, forward])

    def intrinsics(self) -> Vector:
        """Return the 3x3 matrix from camera axes to pixels."""
        return np.array([[self.focal_px, 0.0, (self.width - 1) / 2],
                         [0.0, self.focal_px, (self.height - 1) / 2], [0.0, 0.0, 1.0]])
