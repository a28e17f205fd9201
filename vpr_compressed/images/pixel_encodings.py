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

"""The encodings of ``sensor_msgs/Image`` that hold colours, as one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ImageFormatError

PixelArray = NDArray[Any]


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
BGR = _by_code(cv2.COLOR_BGR2RGB)
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
    'bgr8': Layout(3, BGR),
    '8UC3': Layout(3, BGR),
    'rgba8': Layout(4, _RGBA),
    'bgra8': Layout(4, _BGRA),
    '8UC4': Layout(4, _BGRA),
    'mono8': Layout(1, _GRAY),
    '8UC1': Layout(1, _GRAY),
    'rgb16': Layout(3, _RGB, 2),
    'bgr16': Layout(3, BGR, 2),
    '16UC3': Layout(3, BGR, 2),
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
#: Names of encodings whose values are signed, wider than 16 bits or no integers.
NOT_COLOUR = re.compile(r'(8S|16S|32S|32F|64F)(C\d+)?$')
