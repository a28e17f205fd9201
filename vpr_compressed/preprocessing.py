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


"""Resize and normalise images; the only place in the package that does either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ImageFormatError
from vpr_compressed.records import ImageArray


@dataclass(frozen=True, kw_only=True)
class PreprocessingSpec:
    """What a network wants to be fed; stored in its model file."""

    width: int = option(320, 'width of the network input in pixels', minimum=1)
    height: int = option(240, 'height of the network input in pixels', minimum=1)
    mean: tuple[float, float, float] = option(
        (0.485, 0.456, 0.406), 'RGB mean that is subtracted from pixels / 255')
    std: tuple[float, float, float] = option(
        (0.229, 0.224, 0.225), 'RGB standard deviation the difference is divided by')

    def __post_init__(self) -> None:
        """Refuse sizes and statistics that no network can have."""
        if self.width < 1 or self.height < 1:
            raise ConfigError(f'network input is {self.width}x{self.height}, needs 1x1 or more')
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise ConfigError(f'mean {self.mean} and std {self.std} must be finite')
        if not all(value > 0.0 for value in self.std):
            raise ConfigError(f'std must be above 0 for each colour, got {self.std}')

    def to_json(self) -> dict[str, object]:
        """Return the fields as plain data for a file header."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> PreprocessingSpec:
        """
        Read back what :meth:`to_json` gave.

        :raises ConfigError: for unknown keys, wrong types and impossible values
        """
        return config_from_mapping(cls, values)


class Preprocessor:
    """Turns a camera image into the input of one network."""

    def __init__(self, spec: PreprocessingSpec) -> None:
        """Remember the size and statistics of the network."""
        self.spec = spec

    def __call__(self, image: ImageArray) -> NDArray[np.float32]:
        """
        Stretch an image to the input size and normalise it.

        :param image: uint8 RGB, ``(H, W, 3)``
        :returns: float32 ``(1, 3, height, width)``, contiguous
        :raises ImageFormatError: when the image is of another type or shape, or empty
        """
        small = resize(image, self.spec.width, self.spec.height)
        return normalise(small[np.newaxis], self.spec)


def resize(image: ImageArray, width: int, height: int) -> ImageArray:
    """
    Stretch an image to a size: averaging where it shrinks, interpolating where it grows.

    :param image: uint8 RGB, ``(H, W, 3)``
    :returns: uint8 RGB, ``(height, width, 3)``; the image itself when it has that size
    :raises ImageFormatError: when the image is of another type or shape, or empty
    """
    _check_image(image)
    rows, columns = image.shape[:2]
    # Each direction is treated by itself: OpenCV averages only if both of them shrink.
    shrunk = (min(width, columns), min(height, rows))
    if shrunk != (columns, rows):
        image = np.asarray(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
    if shrunk != (width, height):
        size = (width, height)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


def normalise(images: NDArray[np.uint8], spec: PreprocessingSpec) -> NDArray[np.float32]:
    """
    Bring pixels to the range and axis order a network wants.

    :param images: uint8 RGB, ``(N, h, w, 3)``
    :param spec: mean and standard deviation; its size is not used
    :returns: float32 ``(N, 3, h, w)``, contiguous: ``(pixel / 255 - mean) / std``
    """
    planes = images.transpose(0, 3, 1, 2)                                    # (N, 3, h, w)
    result = np.empty(planes.shape, np.float32)
    std = np.array(spec.std).reshape(3, 1, 1)
    # One multiplication and one addition per pixel instead of two divisions.
    np.multiply(planes, (1.0 / (255.0 * std)).astype(np.float32), out=result)
    result -= (np.array(spec.mean).reshape(3, 1, 1) / std).astype(np.float32)
    return result


def _check_image(image: object) -> None:
    """Refuse anything but a non-empty uint8 colour image."""
    found = getattr(image, 'dtype', type(image).__name__)
    shape: tuple[int, ...] = getattr(image, 'shape', ())
    if found != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise ImageFormatError(
            f'expected a uint8 RGB image of shape (H, W, 3), got {found} of shape {shape}; '
            'decode it with vpr_compressed.images')
    if 0 in shape:
        raise ImageFormatError(f'the image is empty: shape {shape}; check the camera')
