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
Check that an engine computes here what the model computed where it was made.

A model file may hold the descriptors of a few made-up images. They are made with integers only,
so every machine makes the same ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.images.pixels import normalise
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.records import ImageArray
from vpr_compressed.runtime.engines import Engine

#: Below this cosine an engine is not to be trusted with a model.
LEAST_COSINE = 0.99
#: Cells across an image, and what their pattern weighs; coarse ones weigh most, as in photographs.
_OCTAVES = ((3, 8), (6, 6), (12, 4), (24, 3), (60, 2))


def reference_images(preprocessing: PreprocessingSpec, count: int = 4) -> list[ImageArray]:
    """
    Return made-up textures of the network's input size, the same on every machine.

    :param count: how many; each one differs from the others
    :returns: uint8 RGB, ``(h, w, 3)`` each
    """
    return [_texture(seed, preprocessing.height, preprocessing.width) for seed in range(count)]


def describe_reference(
    engine: Engine, preprocessing: PreprocessingSpec, count: int = 4
) -> NDArray[np.float32]:
    """
    Return an engine's descriptors of the reference images.

    :param preprocessing: of the model the engine runs
    :returns: float32 ``(count, D)``, unit norm; a model file keeps them in float16
    """
    return np.stack([
        engine.describe(normalise(image[np.newaxis], preprocessing))
        for image in reference_images(preprocessing, count)])


def check_parity(model: Model, engine: Engine) -> float | None:
    """
    Compare an engine with the descriptors in the model file.

    :param engine: runs that model
    :returns: the lowest cosine; NaN where a descriptor is not finite; None if the file holds no
        descriptors
    """
    if model.reference is None or not len(model.reference):
        return None
    wanted = model.reference.astype(np.float32)
    found = describe_reference(engine, model.preprocessing, len(wanted))
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    return float(((wanted * found).sum(axis=1) / lengths).min())


def _texture(seed: int, height: int, width: int) -> ImageArray:
    """Return one image: noise at several scales, smooth in between."""
    total = np.zeros((height, width, 3), np.int64)
    for octave, (cells, weight) in enumerate(_OCTAVES):
        grid = _noise(seed * len(_OCTAVES) + octave, cells + 2)
        total += weight * _stretch(grid, height, width)
    weights = sum(weight for _, weight in _OCTAVES)
    # The sum of many is nearly always grey; three times the contrast fills the range.
    return np.clip(128 + 3 * (total - 127 * weights) // weights, 0, 255).astype(np.uint8)


def _noise(seed: int, side: int) -> NDArray[np.int64]:
    """Return ``(side, side, 3)`` values in [0, 255] from an integer hash of their places."""
    with np.errstate(over='ignore'):
        value = np.arange(side * side * 3, dtype=np.uint32) + np.uint32(seed * 0x9E3779B1 % 2**32)
        for factor in (0x85EBCA6B, 0xC2B2AE35):  # the finaliser of MurmurHash3
            value = (value ^ (value >> np.uint32(15))) * np.uint32(factor)
    found = (value >> np.uint32(24)).astype(np.int64).reshape(side, side, 3)
    # Mostly grey: colours differ less than brightness, as in photographs.
    return np.asarray((3 * found[:, :, :1] + found) // 4, np.int64)


def _stretch(grid: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """Interpolate a grid to ``(height, width, 3)`` with integers."""
    for axis, size in ((0, height), (1, width)):
        cells = grid.shape[axis] - 2
        place = np.arange(size, dtype=np.int64) * cells * 256 // size
        part = (place % 256).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low = np.take(grid, place // 256, axis=axis)
        high = np.take(grid, place // 256 + 1, axis=axis)
        grid = (low * (256 - part) + high * part) // 256
    return grid
