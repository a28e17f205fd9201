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

"""Frames of a source as image messages with the pixels unchanged."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from vpr_compressed.records import ImageArray
from vpr_compressed.ros.conversions import bytes_for_message
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.sources import Frame


def frame_message(frame: Frame, transport: str, frame_id: str) -> Image | CompressedImage:
    """
    Return a frame as ``Image`` (raw) or ``CompressedImage`` (compressed).

    :param transport: ``raw`` or ``compressed``
    :param frame_id: frame of the message when the source names none
    """
    message = image_message(frame.load()) if transport == 'raw' else _compressed(frame)
    message.header = header_at(frame.stamp_ns, frame.frame_id or frame_id)
    return message


def image_message(image: ImageArray) -> Image:
    """Return RGB pixels, uint8 ``(H, W, 3)``, as an ``rgb8`` image without header."""
    height, width = image.shape[:2]
    return Image(height=height, width=width, encoding='rgb8', is_bigendian=0, step=3 * width,
                 data=bytes_for_message(np.ascontiguousarray(image).data.cast('B')))


def _compressed(frame: Frame) -> CompressedImage:
    """Return the original bytes of a frame, or its pixels as PNG, which loses nothing."""
    if frame.encoded is not None:
        original = frame.encoded()
        return CompressedImage(format=original.format, data=bytes_for_message(original.data))
    bgr = cv2.cvtColor(frame.load(), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return CompressedImage(format='rgb8; png compressed bgr8',
                           data=bytes_for_message(data.tobytes()))
