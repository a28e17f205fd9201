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

"""Decode, shrink and normalise images; the only place in the package that does any of it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import suggest
from vpr_compressed.errors import ImageFormatError
from vpr_compressed.images import jpeg
from vpr_compressed.images.pixel_encodings import BGR
from vpr_compressed.images.pixel_encodings import Layout
from vpr_compressed.images.pixel_encodings import LAYOUTS
from vpr_compressed.images.pixel_encodings import NOT_COLOUR
from vpr_compressed.images.pixel_encodings import PixelArray
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.records import ImageArray

_COLOUR_REMEDY = 'choose the topic of a colour or grey camera image'
_FILE_REMEDY = 'use whole JPEG, PNG, TIFF or WebP files'
#: By how much a JPEG is reduced -> how OpenCV is told.
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8}
#: At the default width of 160 pixels a street takes 3.4 to 3.7 kB, 5.2 kB at most.
_THUMBNAIL_QUALITY = 70


def rgb_from_message(message: Any, *, at_least: tuple[int, int] | None = None) -> ImageArray:
    """
    Decode a raw or compressed image message of rclpy or rosbags.

    :param message: has the fields of ``sensor_msgs/Image`` or, told by its ``format``, of
        ``sensor_msgs/CompressedImage``; ``data`` is an ``array.array``, ``bytes`` or a uint8 array
    :param at_least: as for :func:`rgb_from_encoded`; a raw image keeps its size
    :returns: uint8 RGB, ``(H, W, 3)``, a contiguous copy
    :raises ImageFormatError: an encoding without colours or unknown, fields that contradict
        the number of bytes, or a damaged file
    """
    if hasattr(message, 'format'):
        return _rgb_from_compressed(message, at_least)
    return _rgb_from_raw(message)


def rgb_from_encoded(
    data: bytes | NDArray[np.uint8] | memoryview, *, name: str = 'image',
    at_least: tuple[int, int] | None = None
) -> ImageArray:
    """
    Decode the bytes of a JPEG, PNG, TIFF, WebP or other image file.

    Grey becomes colour, alpha is dropped, 16 bits become 8, EXIF orientation is applied.

    :param data: the whole file
    :param name: what to call the image in an error
    :param at_least: width and height that are enough: a JPEG of twice, four or eight times that
        is decoded at a half, a quarter or an eighth, for half the time or less; None for whole
    :returns: uint8 RGB, ``(H, W, 3)``, contiguous
    :raises ImageFormatError: when the bytes are no image, cut off, or hold float values
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    if at_least is not None:
        flags = _REDUCED.get(jpeg.reduction(_as_bytes(data, name).data, at_least), flags)
    return BGR(_to_8_bit(_decode(data, name, flags)))


def preprocess(image: ImageArray, spec: PreprocessingSpec) -> NDArray[np.float32]:
    """
    Turn a camera image into the input of a network: stretched to its size, normalised.

    :param image: uint8 RGB, ``(H, W, 3)``
    :returns: float32 ``(1, 3, height, width)``, contiguous
    :raises ImageFormatError: when the image is of another type or shape, or empty
    """
    return normalise(resize(image, spec.width, spec.height)[np.newaxis], spec)


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


def thumbnail_jpeg(image: ImageArray, width: int) -> bytes:
    """
    Return an image as a small JPEG of the same shape, for people; it is never made larger.

    :param image: RGB uint8, ``(H, W, 3)``
    :param width: width of the picture in pixels, at least 1
    """
    height, full_width = image.shape[:2]
    width = min(width, full_width)
    size = (width, max(1, round(height * width / full_width)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, _THUMBNAIL_QUALITY]
    _, data = cv2.imencode('.jpg', cv2.cvtColor(small, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


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


def _rgb_from_raw(message: Any) -> ImageArray:
    """Decode a ``sensor_msgs/Image``."""
    layout = _layout_of(message.encoding)
    pairs = layout.channels == 2 or layout.half_rows == 3
    if pairs and (message.width % 2 or (layout.half_rows == 3 and message.height % 2)):
        raise ImageFormatError(
            f'an image in {message.encoding} needs even sizes, as two pixels share their colour, '
            f'but is {message.width}x{message.height}; check what publishes it')
    return np.ascontiguousarray(_to_8_bit(layout.to_rgb(_stored_values(message, layout))))


def _rgb_from_compressed(message: Any, at_least: tuple[int, int] | None) -> ImageArray:
    """
    Decode a ``sensor_msgs/CompressedImage``, reading ``format`` as its message text says.

    The file may hold a Bayer mosaic as grey (PNG and TIFF of a Bayer camera) or, when ``format``
    ends in ``compressed rgb8``, red in place of blue.
    """
    text = str(message.format)
    name = f'compressed image with format {text!r}'
    if 'compresseddepth' in text.lower():
        raise ImageFormatError(f'the {name} holds depth, not colours; {_COLOUR_REMEDY}')
    original, _, codec = text.partition(';')
    stored = codec.partition('compressed')[2].strip()
    layout = LAYOUTS.get(original.strip())
    if original.startswith('bayer_') and not stored and layout is not None:
        pixels = _decode(message.data, name, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
        if pixels.ndim == 2:
            return _to_8_bit(layout.to_rgb(pixels))
    rgb = rgb_from_encoded(message.data, name=name, at_least=at_least)
    return BGR(rgb) if stored.startswith('rgb') else rgb


def _layout_of(encoding: str) -> Layout:
    """Return the table entry of an encoding or refuse it with the remedy."""
    if encoding in LAYOUTS:
        return LAYOUTS[encoding]
    if NOT_COLOUR.match(encoding):
        raise ImageFormatError(
            f'an image in {encoding} holds depth or other signed or float values, not colours; '
            f'{_COLOUR_REMEDY}')
    raise ImageFormatError(
        f'unknown image encoding {encoding!r}{suggest(encoding, LAYOUTS)}; set another encoding '
        'in the camera driver or put a conversion node in front')


def _stored_values(message: Any, layout: Layout) -> PixelArray:
    """
    Cut the padding off the rows and give the values their type.

    :returns: uint8 or native uint16, ``(rows, width, channels)`` or ``(rows, width)``
    """
    buffer = _as_bytes(message.data, 'image message')
    rows = message.height * layout.half_rows // 2
    used = message.width * layout.channels * layout.depth_bytes
    step = int(message.step)
    if layout.half_rows > 2 and buffer.size == rows * used:
        # Drivers disagree on the step of several planes; this many bytes leaves no doubt.
        step = used
    if message.width < 1 or message.height < 1 or step < used or buffer.size != rows * step:
        raise ImageFormatError(
            f'a {message.width}x{message.height} image in {message.encoding} with step '
            f'{message.step} holds {buffer.size} bytes; it needs a step of at least {used} and '
            f'{rows} rows of that many bytes, so check what publishes it')
    values = buffer.reshape(rows, step)
    if step != used:
        chroma = buffer[message.height * step:].reshape(-1, step * layout.chroma_rows)
        values = np.concatenate((
            values[:message.height, :used],
            chroma[:, :used * layout.chroma_rows].reshape(-1, used)))
    if layout.depth_bytes == 2:
        values = values.view('>u2' if message.is_bigendian else '<u2').astype(np.uint16)
    return values if layout.channels == 1 else values.reshape(rows, message.width, -1)


def _decode(data: Any, name: str, flags: int) -> PixelArray:
    """
    Decode a whole image file with OpenCV.

    :param flags: ``cv2.IMREAD_*``
    :returns: BGR ``(H, W, 3)`` or grey ``(H, W)`` of the file's own depth
    :raises ImageFormatError: when the bytes are no image or are cut off
    """
    buffer = _as_bytes(data, name)
    if buffer.size == 0:
        raise ImageFormatError(f'{name} is empty: 0 bytes; check what wrote it')
    if buffer.data[:2] == jpeg.START and not jpeg.is_whole(buffer.data):
        raise ImageFormatError(f'{name} is a JPEG cut off after {buffer.size} bytes; get it again')
    try:
        pixels = cv2.imdecode(buffer, flags)
    except cv2.error as error:
        raise ImageFormatError(f'cannot decode {name}: {error.err}; {_FILE_REMEDY}') from error
    if pixels is None:
        raise ImageFormatError(
            f'{name} is damaged or no image: {buffer.size} bytes that begin with '
            f'{buffer[:4].tobytes()!r}; {_FILE_REMEDY}')
    return pixels


def _to_8_bit(pixels: PixelArray) -> ImageArray:
    """
    Scale 16-bit values to 8 bits over the full range, rounded.

    :raises ImageFormatError: for float pixels, which have no known range
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return np.asarray(cv2.convertScaleAbs(pixels, alpha=1.0 / 257.0), np.uint8)
    raise ImageFormatError(
        f'the image file holds {pixels.dtype} values, not colours of 8 or 16 bits; '
        f'{_COLOUR_REMEDY}')


def _as_bytes(data: Any, name: str) -> NDArray[np.uint8]:
    """Return any buffer of bytes as a flat uint8 view."""
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise ImageFormatError(
            f'the data of {name} is {type(data).__name__}, not bytes; hand over the message as '
            'it was received') from error


def _check_image(image: object) -> None:
    """Refuse anything but a non-empty uint8 colour image."""
    found = getattr(image, 'dtype', type(image).__name__)
    shape: tuple[int, ...] = getattr(image, 'shape', ())
    if found != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise ImageFormatError(
            f'expected a uint8 RGB image of shape (H, W, 3), got {found} of shape {shape}; '
            'decode it with vpr_compressed.images.pixels')
    if 0 in shape:
        raise ImageFormatError(f'the image is empty: shape {shape}; check the camera')
