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
Decode image messages and image files into colour pixels; the only place that does.

Works on rclpy and rosbags messages alike (duck typing), so the live node and the offline tools
see the same pixels. Raw encodings come from one table, :data:`LAYOUTS`; on every encoding that
``cv_bridge`` converts too, the pixels are equal to its ``rgb8``. Depth and float images are
refused: they hold distances, not colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import re
from typing import Any
from typing import cast
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed import jpeg
from vpr_compressed.config import suggest
from vpr_compressed.errors import ImageFormatError
from vpr_compressed.records import ImageArray

PixelArray = NDArray[Any]


class RawImageMessage(Protocol):
    """
    The fields of ``sensor_msgs/Image`` that describe its pixels.

    ``encoding`` is a key of :data:`LAYOUTS`; ``step`` counts the bytes from one row to the next,
    padding included; ``data`` is an ``array.array``, ``bytes`` or a uint8 array.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def encoding(self) -> str: ...
    @property
    def is_bigendian(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def data(self) -> Any: ...


class CompressedImageMessage(Protocol):
    """
    The fields of ``sensor_msgs/CompressedImage`` that describe its pixels.

    ``format`` is ``'ORIGINAL; CODEC compressed PIXELS'`` or just ``'CODEC'``; ``data`` is the
    image file as an ``array.array``, ``bytes`` or a uint8 array.
    """

    @property
    def format(self) -> str: ...  # noqa: A003
    @property
    def data(self) -> Any: ...


@dataclass(frozen=True)
class Layout:
    """
    How one encoding stores its pixels.

    :param channels: values per pixel in the first ``height`` rows
    :param to_rgb: turns the stored values ``(rows, width, channels)`` (two-dimensional when
        there is one channel) into RGB ``(height, width, 3)`` of the same depth
    :param depth_bytes: bytes per value, 1 or 2
    :param half_rows: rows stored per two image rows; above 2 when chroma rows follow
    :param chroma_rows: how many stored rows one padded row of the chroma plane makes
    """

    channels: int
    to_rgb: Callable[[PixelArray], PixelArray]
    depth_bytes: int = 1
    half_rows: int = 2
    chroma_rows: int = 1


def _by_code(code: int) -> Callable[[PixelArray], PixelArray]:
    """Return the OpenCV colour conversion with this code."""
    def convert(pixels: PixelArray) -> PixelArray:
        try:
            return cv2.cvtColor(pixels, code)
        except cv2.error as error:
            raise ImageFormatError(
                f'OpenCV cannot convert pixels of shape {pixels.shape}: {error.err}; check what '
                'publishes them') from error
    return convert


def _rgb_from_nv24(planes: PixelArray) -> PixelArray:
    """
    Convert full-resolution luma followed by interleaved U and V.

    OpenCV has no NV24. As UYVY, with each luma value stored twice so that no two pixels share
    their colour, it goes through the same arithmetic as the other YUV encodings.

    :param planes: uint8 ``(3 * height, width)``
    """
    height, width = planes.shape[0] // 3, planes.shape[1]
    luma = planes[:height]
    chroma = planes[height:].reshape(height, width, 2)
    packed = np.stack((chroma[..., 0], luma, chroma[..., 1], luma), axis=-1)  # (h, w, 4)
    return cv2.cvtColor(packed.reshape(height, 2 * width, 2), cv2.COLOR_YUV2RGB_UYVY)[:, ::2]


_RGB = np.ndarray.copy
_BGR = _by_code(cv2.COLOR_BGR2RGB)
_RGBA = _by_code(cv2.COLOR_RGBA2RGB)
_BGRA = _by_code(cv2.COLOR_BGRA2RGB)
_GRAY = _by_code(cv2.COLOR_GRAY2RGB)
_UYVY = _by_code(cv2.COLOR_YUV2RGB_UYVY)
_YUYV = _by_code(cv2.COLOR_YUV2RGB_YUY2)
# OpenCV names a Bayer pattern after its second row and column, ROS after its first: rggb is BG.
_BAYER = {
    'rggb': _by_code(cv2.COLOR_BayerBG2RGB),
    'bggr': _by_code(cv2.COLOR_BayerRG2RGB),
    'gbrg': _by_code(cv2.COLOR_BayerGR2RGB),
    'grbg': _by_code(cv2.COLOR_BayerGB2RGB),
}

#: Raw encodings: the names of ``sensor_msgs/image_encodings.hpp`` that hold colours.
LAYOUTS: dict[str, Layout] = {
    'rgb8': Layout(3, _RGB),
    'bgr8': Layout(3, _BGR),
    '8UC3': Layout(3, _BGR),
    'rgba8': Layout(4, _RGBA),
    'bgra8': Layout(4, _BGRA),
    '8UC4': Layout(4, _BGRA),
    'mono8': Layout(1, _GRAY),
    '8UC1': Layout(1, _GRAY),
    'rgb16': Layout(3, _RGB, 2),
    'bgr16': Layout(3, _BGR, 2),
    '16UC3': Layout(3, _BGR, 2),
    'rgba16': Layout(4, _RGBA, 2),
    'bgra16': Layout(4, _BGRA, 2),
    '16UC4': Layout(4, _BGRA, 2),
    'mono16': Layout(1, _GRAY, 2),
    '16UC1': Layout(1, _GRAY, 2),
    **{f'bayer_{name}8': Layout(1, to_rgb) for name, to_rgb in _BAYER.items()},
    **{f'bayer_{name}16': Layout(1, to_rgb, 2) for name, to_rgb in _BAYER.items()},
    'uyvy': Layout(2, _UYVY),
    'yuv422': Layout(2, _UYVY),
    'yuyv': Layout(2, _YUYV),
    'yuv422_yuy2': Layout(2, _YUYV),
    'nv12': Layout(1, _by_code(cv2.COLOR_YUV2RGB_NV12), half_rows=3),
    'nv21': Layout(1, _by_code(cv2.COLOR_YUV2RGB_NV21), half_rows=3),
    'nv24': Layout(1, _rgb_from_nv24, half_rows=6, chroma_rows=2),
}

_NOT_COLOUR = re.compile(r'(8S|16S|32S|32F|64F)(C\d+)?$')
_COLOUR_REMEDY = 'choose the topic of a colour or grey camera image'
_FILE_REMEDY = 'use whole JPEG, PNG, TIFF or WebP files'
#: By how much a JPEG is reduced -> how OpenCV is told.
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8}


def rgb_from_message(
    message: RawImageMessage | CompressedImageMessage, *, at_least: tuple[int, int] | None = None
) -> ImageArray:
    """
    Decode a raw or compressed image message of rclpy or rosbags.

    :param message: a message with the fields of ``sensor_msgs/Image`` or, told by its ``format``
        field, of ``sensor_msgs/CompressedImage``
    :param at_least: as for :func:`rgb_from_encoded`; a raw image keeps its size
    :returns: uint8 RGB, ``(H, W, 3)``, a contiguous copy
    :raises ImageFormatError: an encoding without colours or unknown, fields that contradict
        the number of bytes, or a damaged file
    """
    if hasattr(message, 'format'):
        return _rgb_from_compressed(cast('CompressedImageMessage', message), at_least)
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
        flags = _REDUCED.get(jpeg.reduction(_as_bytes(data, name).tobytes(), at_least), flags)
    return _BGR(_to_8_bit(_decode(data, name, flags)))


def _rgb_from_raw(message: RawImageMessage) -> ImageArray:
    """Decode a ``sensor_msgs/Image``."""
    layout = _layout_of(message.encoding)
    pairs = layout.channels == 2 or layout.half_rows == 3
    if pairs and (message.width % 2 or (layout.half_rows == 3 and message.height % 2)):
        raise ImageFormatError(
            f'an image in {message.encoding} needs even sizes, as two pixels share their colour, '
            f'but is {message.width}x{message.height}; check what publishes it')
    return np.ascontiguousarray(_to_8_bit(layout.to_rgb(_stored_values(message, layout))))


def _layout_of(encoding: str) -> Layout:
    """Return the table entry of an encoding or refuse it with the remedy."""
    if encoding in LAYOUTS:
        return LAYOUTS[encoding]
    if _NOT_COLOUR.match(encoding):
        raise ImageFormatError(
            f'an image in {encoding} holds depth or other signed or float values, not colours; '
            f'{_COLOUR_REMEDY}')
    raise ImageFormatError(
        f'unknown image encoding {encoding!r}{suggest(encoding, LAYOUTS)}; set another encoding '
        'in the camera driver or put a conversion node in front')


def _stored_values(message: RawImageMessage, layout: Layout) -> PixelArray:
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


def _rgb_from_compressed(
    message: CompressedImageMessage, at_least: tuple[int, int] | None
) -> ImageArray:
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
    return _BGR(rgb) if stored.startswith('rgb') else rgb


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
    if buffer[:2].tobytes() == jpeg.START and not jpeg.is_whole(buffer.tobytes()):
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
