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
Image folders: files in natural name order, with stamps and poses from ``poses.csv``.

``poses.csv`` lies beside the images, and every image needs a line. It has a header line and the
columns, in any order: ``name`` (required), ``stamp_ns``, ``x_m``, ``y_m``, ``z_m``, and the
orientation as ``qx``, ``qy``, ``qz``, ``qw`` or as ``yaw_rad``. An empty ``x_m`` means that the
pose is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from pathlib import Path

from vpr_compressed.errors import SourceError
from vpr_compressed.records import Pose
from vpr_compressed.sources.csv_table import read_lines
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.sources.image_list import ImageList
from vpr_compressed.sources.image_list import ListedImage
from vpr_compressed.sources.poses import unit_quaternion

POSES_NAME = 'poses.csv'


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
