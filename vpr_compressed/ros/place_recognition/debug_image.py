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

"""The picture for people: the query beside the most similar place, the answer below."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Recognition
from vpr_compressed.ros.conversions import compressed_message
from vpr_compressed.ros.place_recognition.counters import describe_answer

_HEIGHT, _BAR_HEIGHT, _GAP = 240, 24, 4
_GREEN, _AMBER, _GREY = (90, 220, 90), (235, 180, 60), (150, 150, 150)


def debug_image(
    header: Header, recognition: Recognition, image: ImageArray, thumbnail: bytes | None
) -> CompressedImage:
    """
    Return the picture as JPEG.

    :param header: of the query
    :param recognition: the answer
    :param image: the query, RGB uint8 ``(H, W, 3)``
    :param thumbnail: encoded small image of :func:`shown_place`, None when there is none
    """
    query = _fit(image)
    panels = [query, np.zeros((_HEIGHT, _GAP, 3), np.uint8), _place_panel(thumbnail, query)]
    picture = np.concatenate(panels, axis=1)
    colour = _AMBER if recognition.match is None else _GREEN
    bar = _write(np.zeros((_BAR_HEIGHT, picture.shape[1], 3), np.uint8),
                 describe_answer(recognition), colour)
    message = compressed_message(np.concatenate([picture, bar]))
    message.header = header
    return message


def shown_place(recognition: Recognition) -> int | None:
    """Return the keyframe to show: the accepted one, else the most similar one, else None."""
    if recognition.match is not None:
        return recognition.match.keyframe.keyframe_id
    if recognition.candidates:
        return recognition.candidates[0].keyframe.keyframe_id
    return None


def _place_panel(thumbnail: bytes | None, query: ImageArray) -> ImageArray:
    """Return the stored image of the place, or words in a panel of the query's size."""
    if thumbnail:
        return _fit(rgb_from_encoded(thumbnail, name='thumbnail'))
    return _write(np.zeros_like(query), 'no thumbnail in the map', _GREY)


def _fit(image: ImageArray) -> ImageArray:
    """Return an image at the height of the picture."""
    width = max(1, round(image.shape[1] * _HEIGHT / image.shape[0]))
    way = cv2.INTER_AREA if image.shape[0] > _HEIGHT else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, _HEIGHT), interpolation=way), np.uint8)


def _write(panel: ImageArray, text: str, colour: tuple[int, int, int]) -> ImageArray:
    """Write a line into a panel, at half its height."""
    cv2.putText(panel, text, (4, panel.shape[0] // 2 + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour,
                1, cv2.LINE_AA)
    return panel
