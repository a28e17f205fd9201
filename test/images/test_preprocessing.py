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

"""Pre-processing: known pixels to known values, sizes, channel order and refusals."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
import json

import numpy as np
import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ImageFormatError
from vpr_compressed.images.pixels import normalise
from vpr_compressed.images.pixels import preprocess
from vpr_compressed.images.pixels import resize
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.records import ImageArray

PLAIN = PreprocessingSpec(width=4, height=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def noise(height: int, width: int) -> ImageArray:
    """Return an image of random colours."""
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_known_pixel_gives_known_value() -> None:
    """Golden: (255 / 255 - 0.485) / 0.229 and so on, red first."""
    image = np.full((480, 640, 3), (255, 0, 51), np.uint8)
    result = preprocess(image, PreprocessingSpec())
    assert result.shape == (1, 3, 240, 320)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result[0, 0], 2.2489083, rtol=1e-5)
    np.testing.assert_allclose(result[0, 1], -2.0357143, rtol=1e-5)
    np.testing.assert_allclose(result[0, 2], -0.9155556, rtol=1e-5)


def test_rows_and_columns_keep_their_places() -> None:
    """An image of the right size is not touched by the resize."""
    image = noise(2, 4)
    result = preprocess(image, PLAIN)
    np.testing.assert_allclose(result[0].transpose(1, 2, 0), image / 255.0, atol=1e-6)


def test_a_batch_is_normalised_like_its_images() -> None:
    """Training and the robot see the same numbers, bit for bit."""
    spec = PreprocessingSpec(width=8, height=6)
    images = [noise(31, 45), noise(6, 8), noise(12, 7)]
    batch = normalise(np.stack([resize(image, 8, 6) for image in images]), spec)
    singles = np.concatenate([preprocess(image, spec) for image in images])
    np.testing.assert_array_equal(batch, singles)


def test_normalise_agrees_with_the_formula() -> None:
    """The rearranged arithmetic stays within float32 rounding of the definition."""
    spec = PreprocessingSpec()
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    expected = (levels / 255.0 - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_allclose(
        normalise(levels, spec), expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_shrinking_averages_whole_blocks() -> None:
    """Fine texture must not turn into false patterns."""
    image = noise(4, 8)
    blocks = image.reshape(2, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize(image, 4, 2) - blocks).max() <= 0.5


def test_shrinking_in_one_direction_still_averages() -> None:
    """A wide, low image is averaged along its rows even though it grows in height."""
    stripes = np.zeros((2, 400, 3), np.uint8)
    stripes[:, ::2] = 200
    result = resize(stripes, 100, 4)
    assert result.shape == (4, 100, 3)
    assert result.min() == result.max() == 100


def test_growing_interpolates_between_pixels() -> None:
    """Between black and white lies grey."""
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 255
    row = resize(image, 8, 1)[0, :, 0].astype(int)
    assert row[0] == 0
    assert row[-1] == 255
    assert (np.diff(row) >= 0).all()
    assert 0 < row[3] < 255


def test_an_image_of_the_right_size_is_returned_unchanged() -> None:
    """No copy, no arithmetic."""
    image = noise(5, 7)
    assert resize(image, 7, 5) is image


def test_views_and_read_only_images_are_accepted() -> None:
    """A crop or a mirrored image has other strides but the same meaning."""
    image = noise(20, 30)
    image.flags.writeable = False
    crop = image[2:14, 25:5:-1]
    np.testing.assert_array_equal(resize(crop, 5, 3), resize(crop.copy(), 5, 3))


@pytest.mark.parametrize('image', [
    np.full((4, 4, 3), np.nan, np.float32), np.zeros((4, 4, 3), np.float64),
    np.zeros((4, 4, 3), np.uint16), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
    np.zeros((3, 4, 4), np.uint8), np.zeros((1, 4, 4, 3), np.uint8), None, [[1, 2, 3]],
], ids=str)
def test_anything_but_8_bit_colour_is_refused(image: object) -> None:
    """A float image, with or without NaN, never reaches the network."""
    with pytest.raises(ImageFormatError, match=r'uint8 RGB image of shape \(H, W, 3\), got'):
        preprocess(image, PLAIN)


@pytest.mark.parametrize('shape', [(0, 4, 3), (4, 0, 3), (0, 0, 3)])
def test_an_empty_image_is_refused(shape: tuple[int, ...]) -> None:
    """The camera, not the network, is to blame."""
    with pytest.raises(ImageFormatError, match='empty'):
        resize(np.zeros(shape, np.uint8), 4, 2)


def test_the_spec_survives_its_file_header() -> None:
    """JSON both ways, plain data in between."""
    spec = PreprocessingSpec(width=64, height=48, mean=(0.1, 0.2, 0.3))
    values = json.loads(json.dumps(asdict(spec)))
    assert values == {
        'width': 64, 'height': 48, 'mean': [0.1, 0.2, 0.3], 'std': [0.229, 0.224, 0.225]}
    assert config_from_mapping(PreprocessingSpec, values) == spec


@pytest.mark.parametrize(('changes', 'message'), [
    ({'width': 0}, 'width'), ({'height': -1}, 'height'), ({'width': 3.5}, 'width'),
    ({'std': [1.0, 0.0, 1.0]}, r'std is \(1.0, 0.0, 1.0\), it must be above 0'),
    ({'mean': [0.5, 0.5]}, 'needs 3 values'),
    ({'mean': [0.5, 0.5, float('nan')]}, 'finite'), ({'widht': 3}, "did you mean 'width'"),
])
def test_an_impossible_spec_is_refused(changes: dict[str, object], message: str) -> None:
    """A damaged header must not lead to silently wrong input."""
    with pytest.raises(ConfigError, match=message):
        config_from_mapping(PreprocessingSpec, {**asdict(PLAIN), **changes})


def test_a_spec_cannot_be_changed() -> None:
    """The numbers belong to the weights."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAIN.width = 5  # type: ignore[misc]
