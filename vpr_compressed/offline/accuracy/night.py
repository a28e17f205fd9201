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

"""Night, as a change of uint8 images: for dark validation sets, and for training."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.records import ImageArray


def darken(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """
    Return the image by night from the same place.

    Darkens, crushes the shadows, adds lamps, blur and noise; often without colour.

    :param image: uint8 RGB, ``(H, W, 3)``
    :param rng: source of randomness
    :returns: uint8 RGB, same shape
    """
    pixels = image.astype(np.float32) / 255.0
    if rng.random() < 0.6:
        pixels = grey(pixels)
    else:
        pixels = pixels * np.array([1.15, 1.0, rng.uniform(0.6, 0.9)], np.float32)
    pixels = np.clip(pixels, 0.0, 1.0) ** np.float32(rng.uniform(1.2, 2.6))
    light = np.float32(rng.uniform(0.15, 0.6)) * np.ones(image.shape[:2], np.float32)
    for _ in range(int(rng.integers(0, 4))):
        light = light + np.float32(rng.uniform(0.3, 1.2)) * _lamp(image.shape[:2], rng)
    pixels = pixels * light[..., np.newaxis]
    if rng.random() < 0.5:
        pixels = pixels * falloff(image.shape[:2], rng, low=0.2)
    # Cameras expose a dark scene longer: without this the net would only learn to see gain.
    exposure = rng.uniform(0.08, 0.4) / max(float(pixels.mean()), 0.02)
    pixels = pixels * np.float32(min(exposure, 8.0))
    return sensor(pixels, rng, noise=0.07)


def grey(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the luminance in all three channels."""
    luminance = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(luminance[..., np.newaxis], 3, axis=2)


def falloff(
    shape: tuple[int, int], rng: np.random.Generator, low: float
) -> NDArray[np.float32]:
    """Return a linear light gradient in a random direction, ``(H, W, 1)``, from ``low`` to 1."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[-0.5:0.5:complex(shape[0]), -0.5:0.5:complex(shape[1])]
    ramp = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0.0, 1.0)
    floor = rng.uniform(low, 1.0)
    return np.asarray(floor + (1.0 - floor) * ramp, np.float32)[..., np.newaxis]


def _lamp(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a round pool of light, ``(H, W)``, peak 1."""
    y, x = np.mgrid[0:1:complex(shape[0]), 0:1:complex(shape[1])]
    radius = rng.uniform(0.1, 0.5)
    distance = (x - rng.uniform(0, 1)) ** 2 + (y - rng.uniform(0, 0.7)) ** 2
    return np.asarray(np.exp(-distance / (2 * radius ** 2)), np.float32)


def sensor(
    pixels: NDArray[np.float32], rng: np.random.Generator, noise: float
) -> ImageArray:
    """Blur, add noise and round to uint8."""
    if rng.random() < 0.5:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.6)), np.float32)
    sigma = rng.uniform(0.0, noise)
    pixels = pixels + rng.standard_normal(pixels.shape, np.float32) * np.float32(sigma)
    return (np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
