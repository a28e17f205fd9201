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

``poses.csv`` lies beside the images and has a header line. Columns, in any order:
``name`` (file name, required), ``stamp_ns``, ``x_m``, ``y_m``, ``z_m``, and the orientation as
``qx``, ``qy``, ``qz``, ``qw`` or as ``yaw_rad``. Every image needs a row; an empty ``x_m`` means
that its pose is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import csv
from dataclasses import dataclass
from functools import partial
import math
from pathlib import Path

from vpr_compressed.errors import SourceError
from vpr_compressed.images import rgb_from_encoded
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.sources.frames import EncodedImage
from vpr_compressed.sources.frames import Frame
from vpr_compressed.sources.frames import natural_key

#: File suffix -> ``format`` field of a CompressedImage message.
FORMATS = {
    '.jpg': 'jpeg', '.jpeg': 'jpeg', '.png': 'png', '.bmp': 'bmp', '.webp': 'webp',
    '.tif': 'tiff', '.tiff': 'tiff', '.ppm': 'ppm', '.pgm': 'pgm',
}
POSES_NAME = 'poses.csv'


@dataclass(frozen=True)
class _Row:
    """One line of ``poses.csv``; ``stamp_ns`` is None when the file has no such column."""

    stamp_ns: int | None
    pose: Pose | None


class FolderSource:
    """The images of one folder, not of its sub-folders."""

    kind = 'folder'

    def __init__(self, path: Path, *, rate_hz: float = 2.0) -> None:
        """
        List the images and read ``poses.csv`` if there is one.

        :param path: an existing folder
        :param rate_hz: images per second, used for stamps that ``poses.csv`` does not give
        :raises SourceError: no images, or ``poses.csv`` is wrong
        """
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise SourceError(f'the image rate must be a positive number of Hz, got {rate_hz}')
        self.path = path
        self._period_ns = 1e9 / rate_hz
        self._files = list_images(path)
        poses = path / POSES_NAME
        self._rows = _read_rows(poses, self._files) if poses.is_file() else {}

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the images in natural name order."""
        for index, file in enumerate(self._files):
            row = self._rows.get(file.name, _Row(None, None))
            stamp_ns = round(index * self._period_ns) if row.stamp_ns is None else row.stamp_ns
            yield Frame(
                index=index, name=file.name, stamp_ns=stamp_ns, pose=row.pose,
                load=partial(_load, file), encoded=partial(_encoded, file))

    def describe(self) -> str:
        """Return one line for people."""
        poses = f', poses from {POSES_NAME}' if self._rows else ''
        return f'folder {self.path} ({len(self)} images{poses})'


def list_images(folder: Path) -> list[Path]:
    """
    Return the image files of a folder in natural name order.

    :raises SourceError: if there is none, or the folder cannot be read
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise SourceError(f'cannot read folder {folder}: {error.strerror}') from error
    # Hidden files are left out: macOS puts "._name.jpg" beside every image it copies.
    files = [
        entry for entry in entries
        if entry.suffix.lower() in FORMATS and not entry.name.startswith('.') and entry.is_file()]
    if not files:
        raise SourceError(_no_images(folder, entries))
    return sorted(files, key=lambda file: natural_key(file.name))


def _no_images(folder: Path, entries: list[Path]) -> str:
    """Return the text of the error for a folder without images."""
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    hint = f'; did you mean one of its folders: {", ".join(folders[:8])}?' if folders else ''
    return (
        f'{folder} holds {len(entries)} entries but no image ({", ".join(sorted(FORMATS))}) and '
        f'no bag; give the folder that holds the images themselves{hint}')


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


def _read_rows(path: Path, files: list[Path]) -> dict[str, _Row]:
    """Read ``poses.csv`` and check that every image has a row."""
    rows: dict[str, _Row] = {}
    try:
        with path.open(encoding='utf-8-sig', newline='') as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or ()
            if 'name' not in columns or not ({'stamp_ns', 'x_m'} & set(columns)):
                raise SourceError(
                    f'{path} has the columns {list(columns)}; needed is "name" with "stamp_ns" '
                    'or with "x_m" and "y_m"')
            for number, row in enumerate(reader, start=2):
                rows[row['name'] or ''] = _parse_row(row, f'{path}, line {number}')
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f'cannot read {path}: {error}') from error
    missing = [file.name for file in files if file.name not in rows]
    if missing:
        raise SourceError(
            f'{path} has no row for {len(missing)} of {len(files)} images, e.g. {missing[0]}; '
            'add the rows, or remove the file to number the images by time')
    return rows


def _parse_row(row: Mapping[str, str | None], where: str) -> _Row:
    """Return one line as stamp and pose."""
    try:
        stamp = int(row['stamp_ns'] or '') if 'stamp_ns' in row else None
        if not row.get('x_m'):
            return _Row(stamp, None)
        position = (_number(row, 'x_m'), _number(row, 'y_m'), _number(row, 'z_m', '0'))
        pose = Pose(position_m=position, orientation_xyzw=_orientation(row))
    except ValueError as error:
        raise SourceError(f'{where}: {error}; correct the line') from error
    return _Row(stamp, pose)


def _number(row: Mapping[str, str | None], column: str, default: str = '') -> float:
    """Return a finite number of a line or raise ValueError that names the column."""
    text = row.get(column) or default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f'{column} is {text!r}, a finite number is needed')
    return value


def _orientation(row: Mapping[str, str | None]) -> tuple[float, float, float, float]:
    """Return the unit quaternion xyzw of a line; level and facing x when it has none."""
    if row.get('qw'):
        values = tuple(_number(row, column, '0') for column in ('qx', 'qy', 'qz', 'qw'))
        norm = math.sqrt(sum(value * value for value in values))
        if norm < 1e-6:
            raise ValueError('the quaternion qx, qy, qz, qw is zero')
        x, y, z, w = (value / norm for value in values)
        return x, y, z, w
    half = _number(row, 'yaw_rad', '0') / 2
    return 0.0, 0.0, math.sin(half), math.cos(half)
