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
Images given one by one, with names, stamps and poses; folders and data sets are such lists.

A folder is listed in natural name order, with stamps and poses from ``poses.csv``, which lies
beside the images and has a line for each. It has a header line and the columns, in any order:
``name`` (required), ``stamp_ns``, ``x_m``, ``y_m``, ``z_m``, and the orientation as ``qx``,
``qy``, ``qz``, ``qw`` or as ``yaw_rad``. An empty ``x_m`` means that the pose is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
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
from vpr_compressed.sources.csv_table import read_lines
from vpr_compressed.sources.frames import EncodedImage
from vpr_compressed.sources.frames import Frame
from vpr_compressed.sources.image_files import FORMATS
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.sources.poses import unit_quaternion

POSES_NAME = 'poses.csv'


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
                load=partial(_load, image.file, image.box),
                encoded=partial(_encoded, image.file) if image.box is None else None)

    def describe(self) -> str:
        """Return one line for people."""
        note = f', {self.note}' if self.note else ''
        return f'{self.kind} {self.path} ({len(self)} images{note})'


class FolderSource(ImageList):
    """The images of one folder, not of its sub-folders."""

    kind = 'folder'

    def __init__(self, path: Path, *, rate_hz: float = 2.0) -> None:
        """
        List the images and read ``poses.csv`` if there is one.

        :param path: an existing folder
        :param rate_hz: images per second, used for stamps that ``poses.csv`` does not give
        :raises SourceError: no images, or ``poses.csv`` is wrong
        """
        images = [ListedImage(file=file, name=file.name) for file in image_files(path)]
        table = path / POSES_NAME
        placed = table.is_file()
        if placed:
            lines = {image.name: image for image in read_pose_table(table)}
            missing = [image.name for image in images if image.name not in lines]
            if missing:
                raise SourceError(
                    f'{table} has no row for {len(missing)} of {len(images)} images, e.g. '
                    f'{missing[0]}; add the rows, or remove the file to number the images by time')
            images = [lines[image.name] for image in images]
        super().__init__(
            path, images, rate_hz=rate_hz, note=f'poses from {POSES_NAME}' if placed else '')


def read_pose_table(path: Path) -> list[ListedImage]:
    """
    Return the images that a table with the columns of ``poses.csv`` names, line by line.

    :returns: files beside the table; the stamp is None when there is no such column
    :raises SourceError: not readable, without the columns, or a line is wrong
    """
    columns, rows = read_lines(path, SourceError)
    if 'name' not in columns or not {'stamp_ns', 'x_m'} & set(columns):
        raise SourceError(
            f'{path} has the columns {columns}; needed is "name" with "stamp_ns" or with "x_m" '
            'and "y_m"')
    images = []
    for number, row in enumerate(rows, start=2):
        name = row.get('name', '')
        try:
            images.append(ListedImage(
                file=path.parent / name, name=name, pose=_pose(row),
                stamp_ns=int(row.get('stamp_ns', '')) if 'stamp_ns' in columns else None))
        except ValueError as error:
            raise SourceError(f'{path}, line {number}: {error}; correct the line') from error
    return images


def _read(file: Path) -> bytes:
    """Return the bytes of one image file."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise SourceError(f'cannot read image {file}: {error.strerror}') from error


def _load(
    file: Path, box: tuple[int, int, int, int] | None, *,
    at_least: tuple[int, int] | None = None
) -> ImageArray:
    """
    Return the pixels of one image file, or those inside a box of it.

    With a box the file is decoded whole: the box counts in its pixels.

    :raises SourceError: the box and the image have no pixel in common
    """
    pixels = rgb_from_encoded(
        _read(file), name=str(file), at_least=at_least if box is None else None)
    if box is None:
        return pixels
    left, top, right, bottom = box
    part = pixels[max(top, 0):max(bottom, 0), max(left, 0):max(right, 0)]
    if part.size == 0:
        height, width = pixels.shape[:2]
        raise SourceError(
            f'the box {box} (left, top, right, bottom) lies outside of {file}, which has '
            f'{width}x{height} pixels; the image may be another version of itself')
    return np.ascontiguousarray(part)


def _encoded(file: Path) -> EncodedImage:
    """Return one image file as it is."""
    return EncodedImage(_read(file), FORMATS[file.suffix.lower()])


def _pose(row: Mapping[str, str]) -> Pose | None:
    """Return the pose of a line, None when its position is empty."""
    if not row.get('x_m'):
        return None
    position = (_number(row, 'x_m'), _number(row, 'y_m'), _number(row, 'z_m', '0'))
    return Pose(position_m=position, orientation_xyzw=_orientation(row))


def _number(row: Mapping[str, str], column: str, default: str = '') -> float:
    """Return a finite number of a line or raise ValueError that names the column."""
    text = row.get(column) or default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f'{column} is {text!r}, a finite number is needed')
    return value


def _orientation(row: Mapping[str, str]) -> tuple[float, float, float, float]:
    """Return the unit quaternion xyzw of a line; level and facing x when it has none."""
    if row.get('qw'):
        unit = unit_quaternion((
            _number(row, 'qx', '0'), _number(row, 'qy', '0'), _number(row, 'qz', '0'),
            _number(row, 'qw')))
        if unit is None:
            raise ValueError('the quaternion qx, qy, qz, qw is zero')
        return unit
    half = _number(row, 'yaw_rad', '0') / 2
    return 0.0, 0.0, math.sin(half), math.cos(half)
