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

"""Images given one by one, with names, stamps and poses; folders and data sets are such lists."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
import math
from pathlib import Path

import numpy as np

from vpr_compressed.errors import SourceError
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.sources.frames import EncodedImage
from vpr_compressed.sources.frames import Frame
from vpr_compressed.sources.image_files import FORMATS


@dataclass(frozen=True, kw_only=True)
class ListedImage:
    """
    One entry of a list.

    :param file: the image file, with a suffix of ``image_files.FORMATS``
    :param name: what people call it
    :param stamp_ns: time in nanoseconds, None to number the images by a rate
    :param pose: where it was taken, None when unknown
    :param box: left, top, right, bottom in pixels: the only part of the image that counts; right
        and bottom are not included, what lies outside of the image is cut off
    """

    file: Path
    name: str
    stamp_ns: int | None = None
    pose: Pose | None = None
    box: tuple[int, int, int, int] | None = None


class ImageList:
    """A list of image files, in the order given."""

    kind = 'list'

    def __init__(
        self, path: Path, images: Sequence[ListedImage], *, rate_hz: float = 2.0, note: str = ''
    ) -> None:
        """
        Take the list; no file is opened before its frame is loaded.

        :param path: the folder or file the list comes from, for people
        :param rate_hz: images per second, for the stamps of images that have none
        :param note: what else to say about the list, for :meth:`describe`
        :raises SourceError: the list is empty, or the rate is not positive
        """
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise SourceError(f'the image rate must be a positive number of Hz, got {rate_hz}')
        if not images:
            raise SourceError(f'the list of images of {path} is empty; nothing can be read')
        self.path = path
        self.images, self.rate_hz, self.note = tuple(images), rate_hz, note

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the images in the order of the list."""
        for index, image in enumerate(self.images):
            stamp_ns = image.stamp_ns
            yield Frame(
                index=index, name=image.name, pose=image.pose,
                stamp_ns=round(index * (1e9 / self.rate_hz)) if stamp_ns is None else stamp_ns,
                load=partial(_load, image.file) if image.box is None else partial(
                    _load_box, image.file, image.box),
                encoded=partial(_encoded, image.file) if image.box is None else None)

    def describe(self) -> str:
        """Return one line for people."""
        note = f', {self.note}' if self.note else ''
        return f'{self.kind} {self.path} ({len(self)} images{note})'


def _read(file: Path) -> bytes:
    """Return the bytes of one image file."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise SourceError(f'cannot read image {file}: {error.strerror}') from error


def _load(file: Path, *, at_least: tuple[int, int] | None = None) -> ImageArray:
    """Return the pixels of one image file."""
    return rgb_from_encoded(_read(file), name=str(file), at_least=at_least)


def _encoded(file: Path) -> EncodedImage:
    """Return one image file as it is."""
    return EncodedImage(_read(file), FORMATS[file.suffix.lower()])


def _load_box(
    file: Path, box: tuple[int, int, int, int], *, at_least: tuple[int, int] | None = None
) -> ImageArray:
    """
    Return the pixels inside the box of one image file.

    The file is decoded whole: the box counts in its pixels.

    :raises SourceError: the box and the image have no pixel in common
    """
    del at_least
    pixels = _load(file)
    left, top, right, bottom = box
    part = pixels[max(top, 0):max(bottom, 0), max(left, 0):max(right, 0)]
    if part.size == 0:
        height, width = pixels.shape[:2]
        raise SourceError(
            f'the box {box} (left, top, right, bottom) lies outside of {file}, which has '
            f'{width}x{height} pixels; the image may be another version of itself')
    return np.ascontiguousarray(part)
