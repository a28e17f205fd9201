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

"""What every source of images gives: frames that load their pixels only when asked."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose


@dataclass(frozen=True)
class EncodedImage:
    """
    An image as it was stored, so that a player can publish it untouched.

    :param data: bytes of the JPEG, PNG, ... file
    :param format: ``format`` field of ``sensor_msgs/CompressedImage``, e.g. ``jpeg``
    """

    data: bytes
    format: str  # noqa: A003


class LoadImage(Protocol):
    """Returns the pixels of a frame; see :func:`vpr_compressed.images.pixels.rgb_from_encoded`."""

    def __call__(self, *, at_least: tuple[int, int] | None = None) -> ImageArray: ...


@dataclass(frozen=True, kw_only=True)
class Frame:
    """
    One image of a source; holds no pixels, at most the bytes of its own bag message.

    :param index: position in the source, from 0; ground truths count in it
    :param name: file name or ``topic[index]``, for people
    :param stamp_ns: time of the image in nanoseconds (its header stamp in a bag)
    :param pose: pose of the robot at that time, or None when unknown
    :param frame_id: frame of the camera, '' when unknown
    :param load: returns uint8 RGB ``(H, W, 3)``, raises ImageFormatError; a JPEG may come smaller
        if a width and height are given that it still has at least
    :param encoded: returns the original file or compressed message, None for raw images
    """

    index: int
    name: str
    stamp_ns: int
    pose: Pose | None
    load: LoadImage
    encoded: Callable[[], EncodedImage] | None = None
    frame_id: str = ''


class ImageSource(Protocol):
    """A folder, list or bag of images that can be walked any number of times, in one order."""

    @property
    def path(self) -> Path:
        """Where the images are."""

    @property
    def kind(self) -> str:
        """``folder``, ``list`` or ``bag``."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order, from the first one each time."""

    def describe(self) -> str:
        """Return one line for people: what it is, how many images, which topic."""


def stamp_to_ns(stamp: Any) -> int:
    """Return the ``builtin_interfaces/Time`` of rclpy or rosbags in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
