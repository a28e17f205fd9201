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

"""JPEGs are understood without being decoded, and decoded no larger than needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import ImageFormatError
from vpr_compressed.images import jpeg
from vpr_compressed.images.pixels import resize
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.images.pixels import rgb_from_message
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.records import ImageArray
from vpr_compressed.runtime.parity import reference_images
from vpr_compressed.sources import open_source

NEEDED = (32, 24)


def picture(width: int, height: int) -> ImageArray:
    """Return a smooth texture, RGB."""
    return reference_images(PreprocessingSpec(width=width, height=height), 1)[0]


def encoded(image: ImageArray, extension: str = '.jpg', *options: int) -> bytes:
    """Return an RGB or grey image as a file."""
    good, data = cv2.imencode(extension, image[..., ::-1] if image.ndim == 3 else image, options)
    assert good
    return data.tobytes()


def with_orientation(data: bytes, orientation: int) -> bytes:
    """Return a JPEG with EXIF data that say how the camera was held."""
    body = b'Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01' + bytes(
        [0, orientation, 0, 0, 0, 0, 0, 0])
    return data[:2] + b'\xff\xe1' + (len(body) + 2).to_bytes(2, 'big') + body + data[2:]


@pytest.mark.parametrize(('width', 'height'), [(64, 48), (65, 47), (8, 300)])
@pytest.mark.parametrize('options', [
    (), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    (cv2.IMWRITE_JPEG_RST_INTERVAL, 2), (cv2.IMWRITE_JPEG_QUALITY, 20)])
def test_the_size_of_every_kind_of_jpeg_is_read(
    width: int, height: int, options: tuple[int, ...]
) -> None:
    """Baseline and progressive, colour and grey, odd sizes."""
    image = picture(width, height)
    for data in (encoded(image, '.jpg', *options), encoded(image[..., 0], '.jpg', *options)):
        assert jpeg.size_of(data) == (width, height)
        assert jpeg.is_whole(data)
        assert not jpeg.is_whole(data[:-2])


@pytest.mark.parametrize('data', [
    b'', b'\xff\xd8', encoded(picture(64, 48), '.png'), encoded(picture(64, 48))[:30],
    with_orientation(encoded(picture(64, 48)), 1),
    b'\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x00'])
def test_what_cannot_be_told_has_no_size(data: bytes) -> None:
    """No JPEG, one cut off before its size, one that EXIF may turn, and one of 0 pixels."""
    assert jpeg.size_of(data) is None
    assert jpeg.reduction(data, (1, 1)) == 1


@pytest.mark.parametrize(('size', 'factor'), [
    ((64, 48), 2), ((66, 50), 2), ((65, 50), 1), ((63, 48), 1), ((64, 47), 1), ((32, 24), 1),
    ((16, 12), 1), ((128, 96), 4), ((130, 96), 2), ((128, 95), 1), ((256, 192), 8),
    ((1024, 1024), 8), ((300, 50), 2)])
def test_a_jpeg_is_reduced_as_far_as_it_stays_large_enough(
    size: tuple[int, int], factor: int
) -> None:
    """In both directions; what is left is what the whole image would shrink to."""
    image = picture(*size)
    data = encoded(image, '.jpg', cv2.IMWRITE_JPEG_QUALITY, 95)
    found = rgb_from_encoded(data, at_least=NEEDED)
    assert jpeg.reduction(data, NEEDED) == factor
    assert found.shape == (size[1] // factor, size[0] // factor, 3)
    if factor > 1:
        wanted = resize(rgb_from_encoded(data), *NEEDED).astype(int)
        assert np.abs(resize(found, *NEEDED) - wanted).mean() < 4.0


def test_other_files_are_decoded_whole() -> None:
    """A decoder gains nothing there, and 16 bits must be scaled as before."""
    image = picture(256, 192)
    np.testing.assert_array_equal(rgb_from_encoded(encoded(image, '.png'), at_least=NEEDED), image)
    deep = encoded(image.astype(np.uint16) * 257, '.png')
    np.testing.assert_array_equal(rgb_from_encoded(deep, at_least=NEEDED), image)


def test_a_photo_on_its_side_is_turned_and_whole() -> None:
    """EXIF orientation 6: the camera was held upright."""
    data = with_orientation(encoded(picture(256, 192)), 6)
    assert rgb_from_encoded(data, at_least=NEEDED).shape == (256, 192, 3)


def test_a_damaged_jpeg_is_refused_at_any_size() -> None:
    """Cut off, and with a size but nothing behind it."""
    data = encoded(picture(256, 192))
    for cut in (data[:-2], data[:len(data) // 2], data[:3]):
        with pytest.raises(ImageFormatError, match=r'frame\.jpg'):
            rgb_from_encoded(cut, name='frame.jpg', at_least=NEEDED)


@pytest.mark.parametrize('text', ['jpeg', 'rgb8; jpeg compressed bgr8', 'mono8; jpeg compressed '])
def test_messages_are_reduced_alike(text: str) -> None:
    """Colours keep their order; a raw image keeps its size."""
    image = picture(128, 96)
    data = encoded(image)
    message = SimpleNamespace(format=text, data=data)
    np.testing.assert_array_equal(
        rgb_from_message(message, at_least=NEEDED), rgb_from_encoded(data, at_least=NEEDED))
    swapped = SimpleNamespace(format='rgb8; jpeg compressed rgb8', data=data)
    np.testing.assert_array_equal(
        rgb_from_message(swapped, at_least=NEEDED)[..., ::-1],
        rgb_from_encoded(data, at_least=NEEDED))
    raw = SimpleNamespace(height=96, width=128, encoding='rgb8', is_bigendian=0, step=384,
                          data=image.tobytes())
    np.testing.assert_array_equal(rgb_from_message(raw, at_least=NEEDED), image)


def test_a_mosaic_is_never_reduced() -> None:
    """Neighbouring pixels of a Bayer pattern are different colours."""
    message = SimpleNamespace(format='bayer_rggb8; jpeg', data=encoded(picture(128, 96)[..., 0]))
    assert rgb_from_message(message, at_least=NEEDED).shape == (96, 128, 3)


def test_frames_of_a_folder_are_reduced_only_when_asked(tmp_path: Path) -> None:
    """Pictures for people stay whole."""
    (tmp_path / '1.jpg').write_bytes(encoded(picture(128, 96)))
    frame = next(iter(open_source(tmp_path)))
    assert frame.load().shape == (96, 128, 3)
    assert frame.load(at_least=NEEDED).shape == (24, 32, 3)
