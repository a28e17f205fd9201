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
Tables of image names with stamps and poses: ``poses.csv`` beside images, and its relatives.

Such a table has a header line. Columns, in any order: ``name`` (required), ``stamp_ns``, ``x_m``,
``y_m``, ``z_m``, and the orientation as ``qx``, ``qy``, ``qz``, ``qw`` or as ``yaw_rad``. An empty
``x_m`` means that the pose is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
import csv
from dataclasses import dataclass
import math
from pathlib import Path

from vpr_compressed.errors import SourceError
from vpr_compressed.records import Pose
from vpr_compressed.sources.poses import unit_quaternion


@dataclass(frozen=True)
class PoseRow:
    """One line of a table; ``stamp_ns`` is None when the file has no such column."""

    stamp_ns: int | None = None
    pose: Pose | None = None


def read_pose_table(path: Path) -> dict[str, PoseRow]:
    """
    Return name -> stamp and pose, in the order of the lines; of a repeated name the last counts.

    :raises SourceError: not readable, without the columns, or a line is wrong
    """
    rows: dict[str, PoseRow] = {}
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
    return rows


def _parse_row(row: Mapping[str, str | None], where: str) -> PoseRow:
    """Return one line as stamp and pose."""
    try:
        stamp = int(row['stamp_ns'] or '') if 'stamp_ns' in row else None
        if not row.get('x_m'):
            return PoseRow(stamp, None)
        position = (_number(row, 'x_m'), _number(row, 'y_m'), _number(row, 'z_m', '0'))
        pose = Pose(position_m=position, orientation_xyzw=_orientation(row))
    except ValueError as error:
        raise SourceError(f'{where}: {error}; correct the line') from error
    return PoseRow(stamp, pose)


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
        unit = unit_quaternion((
            _number(row, 'qx', '0'), _number(row, 'qy', '0'), _number(row, 'qz', '0'),
            _number(row, 'qw')))
        if unit is None:
            raise ValueError('the quaternion qx, qy, qz, qw is zero')
        return unit
    half = _number(row, 'yaw_rad', '0') / 2
    return 0.0, 0.0, math.sin(half), math.cos(half)
