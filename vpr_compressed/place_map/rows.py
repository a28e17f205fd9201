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
How keyframes, poses and descriptors become rows of the map file, and back.

Version history of the file (``user_version``): 1, the first.
"""

# ruff: noqa: S608  (only column names and question marks of this file are put into SQL)

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import math
import sqlite3
import time
from typing import Any
import zlib

import numpy as np

from vpr_compressed.errors import MapFileError
from vpr_compressed.place_map.index_rows import IdArray
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose

APPLICATION_ID = 0x5650524D  # 'VPRM'
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE header (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  descriptor_id TEXT NOT NULL, dimension INTEGER NOT NULL, descriptor_dtype TEXT NOT NULL,
  model_name TEXT NOT NULL, created_ns INTEGER NOT NULL, package_version TEXT NOT NULL);
CREATE TABLE sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, started_ns INTEGER NOT NULL);
CREATE TABLE keyframes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL REFERENCES sessions (id),
  stamp_ns INTEGER NOT NULL, external_id TEXT NOT NULL, name TEXT NOT NULL,
  frame_id TEXT, x REAL, y REAL, z REAL, qx REAL, qy REAL, qz REAL, qw REAL,
  var_x REAL, var_y REAL, var_z REAL, var_roll REAL, var_pitch REAL, var_yaw REAL,
  descriptor BLOB NOT NULL, scale REAL NOT NULL, checksum INTEGER NOT NULL);
CREATE INDEX keyframes_by_time ON keyframes (session, stamp_ns);
CREATE TABLE thumbnails (
  keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE, data BLOB NOT NULL);
"""

#: Stored form -> bytes per value.
DESCRIPTOR_DTYPES = {'int8': 1, 'fp16': 2}

POSE_COLUMNS = ('frame_id, x, y, z, qx, qy, qz, qw, '
                'var_x, var_y, var_z, var_roll, var_pitch, var_yaw')
KEYFRAME_COLUMNS = f'id, session, stamp_ns, external_id, name, {POSE_COLUMNS}'
DESCRIPTOR_COLUMNS = 'id, descriptor, scale, checksum'
#: Values of ``DESCRIPTOR_COLUMNS``.
DescriptorRow = tuple[int, bytes, float, int]
_IDS_PER_QUERY = 900  # SQLite of 2019 and before takes 999 parameters


def unit_descriptor(descriptor: DescriptorArray, dimension: int) -> DescriptorArray:
    """
    Return a descriptor with unit norm, float32, ``(D,)``.

    :raises MapFileError: for another size, values that are not finite, or only zeros
    """
    vector = np.asarray(descriptor, np.float32)
    if vector.shape != (dimension,):
        raise MapFileError(
            f'descriptor has shape {vector.shape}, this map holds ({dimension},); use the model '
            'the map was made with')
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not (math.isfinite(norm) and norm > 0.0):
        raise MapFileError(
            f'descriptor has norm {norm}: it must be finite and not zero; check the model')
    return np.asarray(vector / norm, np.float32)


def encode_descriptor(unit: DescriptorArray, dtype: str) -> tuple[bytes, float]:
    """
    Return the stored bytes of a descriptor and their scale.

    :param unit: float32, ``(D,)``, unit norm
    :param dtype: a key of ``DESCRIPTOR_DTYPES``
    """
    if dtype == 'fp16':
        return unit.astype('<f2').tobytes(), 1.0
    scale = float(np.abs(unit).max()) / 127.0
    return np.rint(unit / scale).astype(np.int8).tobytes(), scale


def decode_descriptors(
    rows: Sequence[DescriptorRow], dtype: str, dimension: int
) -> DescriptorArray:
    """
    Return the descriptors of rows of ``DESCRIPTOR_COLUMNS``.

    :returns: float32, unit norm, ``(M, D)``
    :raises MapFileError: for a row whose bytes have changed since they were written
    """
    size = dimension * DESCRIPTOR_DTYPES[dtype]
    for keyframe_id, blob, scale, checksum in rows:
        if len(blob) != size or not 0.0 < scale < math.inf or zlib.crc32(blob) != checksum:
            raise MapFileError(
                f'the descriptor of keyframe {keyframe_id} is damaged; restore a copy of the map, '
                'or delete this row from table keyframes with sqlite3')
    stored = np.frombuffer(b''.join(row[1] for row in rows), 'i1' if dtype == 'int8' else '<f2')
    values = stored.reshape(len(rows), dimension).astype(np.float32)
    # the scale cancels: rounding to int8 changes the norm a little, which is set to one again
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def pose_to_row(pose: Pose | None) -> tuple[object, ...]:
    """
    Return the values of ``POSE_COLUMNS``; all None without a pose.

    :raises MapFileError: for values that are not finite or a quaternion far from unit norm
    """
    if pose is None:
        return (None,) * 14
    numbers = [float(value) for value in
               (*pose.position_m, *pose.orientation_xyzw, *pose.covariance_diagonal)]
    if len(numbers) != 13 or not all(math.isfinite(value) for value in numbers):
        raise MapFileError(f'pose {pose} must be finite; check where the positions come from')
    if abs(math.hypot(*numbers[3:7]) - 1.0) > 0.01:
        raise MapFileError(f'pose {pose} needs a quaternion of norm 1 (x, y, z, w)')
    return (pose.frame_id, *numbers)


def keyframe_from_row(row: Sequence[Any]) -> Keyframe:
    """Return the keyframe of a row of ``KEYFRAME_COLUMNS``."""
    pose = None
    if row[5] is not None:
        pose = Pose(
            frame_id=row[5], position_m=tuple(row[6:9]), orientation_xyzw=tuple(row[9:13]),
            covariance_diagonal=tuple(row[13:19]))
    return Keyframe(
        keyframe_id=row[0], session=row[1], stamp_ns=row[2], pose=pose, external_id=row[3],
        name=row[4])


def write_schema(connection: sqlite3.Connection, header: tuple[object, ...]) -> None:
    """Make the tables of an empty map."""
    connection.executescript(SCHEMA)
    connection.execute(f'PRAGMA application_id = {APPLICATION_ID}')
    connection.execute(f'PRAGMA user_version = {SCHEMA_VERSION}')
    connection.execute('INSERT INTO header VALUES (1, ?, ?, ?, ?, ?, ?)', header)


def insert_keyframe(
    connection: sqlite3.Connection, keyframe: Sequence[object], pose: Sequence[object],
    descriptor: tuple[bytes, float]
) -> int:
    """
    Insert one row and return its id.

    :param keyframe: session, stamp_ns, external_id, name
    :param pose: values of ``POSE_COLUMNS``
    :param descriptor: bytes and scale
    """
    blob, scale = descriptor
    cursor = connection.execute(
        f'INSERT INTO keyframes (session, stamp_ns, external_id, name, {POSE_COLUMNS}, '
        f'descriptor, scale, checksum) VALUES ({", ".join("?" * 21)})',
        (*keyframe, *pose, blob, scale, zlib.crc32(blob)))
    return int(cursor.lastrowid or 0)


def insert_session(connection: sqlite3.Connection, name: str) -> int:
    """Insert a mapping run and return its number."""
    cursor = connection.execute(
        'INSERT INTO sessions (name, started_ns) VALUES (?, ?)', (name, time.time_ns()))
    return int(cursor.lastrowid or 0)


def all_keyframes(connection: sqlite3.Connection) -> list[Keyframe]:
    """Return all keyframes in the order they were added."""
    rows = connection.execute(f'SELECT {KEYFRAME_COLUMNS} FROM keyframes ORDER BY id')
    return [keyframe_from_row(row) for row in rows]


def keyframes_by_id(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Keyframe]:
    """Return the keyframes that exist among some ids."""
    return {row[0]: keyframe_from_row(row)
            for row in _rows_by_id(connection, KEYFRAME_COLUMNS, ids)}


def descriptors_by_id(
    connection: sqlite3.Connection, ids: IdArray, dtype: str, dimension: int
) -> DescriptorArray:
    """
    Return stored descriptors, ``(M, D)`` in the order of the ids; zeros where there is none.

    :raises MapFileError: for a row whose bytes have changed since they were written
    """
    stored = list(_rows_by_id(connection, DESCRIPTOR_COLUMNS, ids.tolist()))
    position = {row[0]: place for place, row in enumerate(stored)}
    found = np.zeros((len(stored) + 1, dimension), np.float32)
    found[:-1] = decode_descriptors(stored, dtype, dimension)
    return found[[position.get(i, -1) for i in ids.tolist()]]


def descriptor_blocks(connection: sqlite3.Connection, size: int) -> Iterator[list[DescriptorRow]]:
    """Yield all rows of ``DESCRIPTOR_COLUMNS`` by id, ``size`` at a time."""
    cursor = connection.execute(f'SELECT {DESCRIPTOR_COLUMNS} FROM keyframes ORDER BY id')
    while rows := cursor.fetchmany(size):
        yield rows


def thumbnail(connection: sqlite3.Connection, keyframe_id: int) -> bytes | None:
    """Return the stored picture of a keyframe, or None."""
    row = connection.execute(
        'SELECT data FROM thumbnails WHERE keyframe = ?', (keyframe_id,)).fetchone()
    return None if row is None else bytes(row[0])


def thumbnail_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes of all stored pictures."""
    row = connection.execute('SELECT COALESCE(SUM(LENGTH(data)), 0) FROM thumbnails').fetchone()
    return int(row[0])


def session_starts(connection: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Yield number and session of every keyframe that begins a stretch of one session."""
    yield from connection.execute(
        'SELECT id, session FROM (SELECT id, session, LAG(session) OVER (ORDER BY id) AS before '
        'FROM keyframes) WHERE before IS NOT session ORDER BY id')


def _rows_by_id(
    connection: sqlite3.Connection, columns: str, ids: Sequence[int]
) -> Iterator[Any]:
    """Yield the rows that exist among some keyframe ids, in no order."""
    for start in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[start:start + _IDS_PER_QUERY]
        yield from connection.execute(
            f'SELECT {columns} FROM keyframes WHERE id IN ({", ".join("?" * len(some))})', some)
