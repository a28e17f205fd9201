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
The map: keyframes with poses and compressed descriptors, safe against a power cut.

The SQLite file is the truth, the index in memory is made from it. Apart from the index nothing
is kept per place, so memory grows by the index alone (``PlaceIndex``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import threading
import time
from typing import final
import zlib

import numpy as np

from vpr_compressed import __version__
from vpr_compressed.errors import MapFileError
from vpr_compressed.place_map import rows
from vpr_compressed.place_map.file import create_file
from vpr_compressed.place_map.file import DAMAGED
from vpr_compressed.place_map.file import explained
from vpr_compressed.place_map.file import MapFile
from vpr_compressed.place_map.file import open_file
from vpr_compressed.place_map.index import PlaceIndex
from vpr_compressed.place_map.index_rows import IdArray
from vpr_compressed.place_map.searchable import Searchable
from vpr_compressed.place_map.searchable import Stretches
from vpr_compressed.records import Candidate
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose

_LOAD_BLOCK = 4096


@final
class PlaceMap:
    """
    Keyframes that can be searched by descriptor; every method may be called from any thread.

    Make one with ``create`` or ``open``, and close it: ``with PlaceMap.open(path) as place_map``.
    """

    def __init__(self, file: MapFile, descriptor_id: str | None = None) -> None:
        """Read the header and fill the index; use ``create`` or ``open`` instead."""
        self._file = file
        self._lock = threading.RLock()
        self._session: int | None = None
        self._stretches = Stretches()
        with explained(file.path):
            row = file.connection.execute(
                'SELECT descriptor_id, dimension, descriptor_dtype, model_name, package_version '
                'FROM header').fetchone()
            if row is None or row[2] not in rows.DESCRIPTOR_DTYPES or row[1] < 1:
                raise MapFileError(f'map {file.path} {DAMAGED} (header: {row})')
            self.descriptor_id: str = row[0]
            self.dimension: int = row[1]
            self.descriptor_dtype: str = row[2]
            self.model_name: str = row[3]
            self.package_version: str = row[4]
            if descriptor_id not in (None, self.descriptor_id):
                raise MapFileError(
                    f'map {file.path} was made with another model: its descriptors are '
                    f'{self.descriptor_id} ({self.model_name or "unnamed"}), the model in use '
                    f'makes {descriptor_id}; use that model, or build the map again with '
                    '"vpr_compressed build-map"')
            self._index = self._load_index()

    @classmethod
    def create(
        cls, path: Path | None, *, descriptor_id: str, dimension: int, model_name: str = '',
        descriptor_dtype: str = 'int8', overwrite: bool = False
    ) -> PlaceMap:
        """
        Make an empty map, open for writing.

        :param path: file to make, or None for a map in memory
        :param descriptor_id: id of the model's descriptors
        :param dimension: values per descriptor
        :param descriptor_dtype: ``int8`` (with one scale each) or ``fp16``
        :param overwrite: replace an existing file
        :raises MapFileError: when the file exists, cannot be written, or the values make no sense
        """
        if dimension < 1 or descriptor_dtype not in rows.DESCRIPTOR_DTYPES:
            raise MapFileError(
                f'a map needs at least one dimension and int8 or fp16 descriptors, got '
                f'{dimension} and {descriptor_dtype!r}')
        header = (descriptor_id, dimension, descriptor_dtype, model_name, time.time_ns(),
                  __version__)
        return cls(create_file(path and Path(path), header, overwrite=overwrite))

    @classmethod
    def open(  # noqa: A003
        cls, path: Path, *, descriptor_id: str | None = None, read_only: bool = True
    ) -> PlaceMap:
        """
        Open a map file.

        :param descriptor_id: id of the model in use; a map of another one is refused
        :param read_only: never change anything, and leave no files behind
        :raises MapFileError: when the file is missing, damaged, in use, newer than this build, or
            made with another model
        """
        file = open_file(Path(path), read_only=read_only)
        try:
            return cls(file, descriptor_id)
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> PlaceMap:
        """Return the map itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the map."""
        self.close()

    def __len__(self) -> int:
        """Return the number of keyframes."""
        with self._lock:
            return len(self._index)

    @property
    def path(self) -> Path | None:
        """Return the file, or None for a map in memory."""
        return self._file.path

    @property
    def read_only(self) -> bool:
        """Return whether changes are refused."""
        return self._file.read_only

    @property
    def bytes_per_place(self) -> float:
        """Return the bytes a stored descriptor takes, its scale included."""
        values = self.dimension * rows.DESCRIPTOR_DTYPES[self.descriptor_dtype]
        return float(values + (8 if self.descriptor_dtype == 'int8' else 0))

    @property
    def thumbnail_bytes(self) -> int:
        """Return the bytes of all stored pictures."""
        with self._lock, explained(self.path):
            return rows.thumbnail_bytes(self._file.connection)

    @property
    def index_bytes(self) -> int:
        """Return the bytes of memory the index takes."""
        with self._lock:
            return self._index.nbytes

    @property
    def index_kind(self) -> str:
        """Return how places are searched now: ``exact`` or ``compact``."""
        return self._index.kind

    def begin_session(self, name: str = '') -> int:
        """Start a mapping run, durably, and return its number (from 1, never used twice)."""
        with self._lock, self._file.transaction() as connection:
            self._session = rows.insert_session(connection, name)
            return self._session

    def add(
        self, descriptor: DescriptorArray, *, stamp_ns: int, pose: Pose | None = None,
        external_id: str = '', name: str = '', thumbnail: bytes | None = None
    ) -> Keyframe:
        """
        Store one keyframe, durably, in the current session (which starts with the first one).

        :param descriptor: float, ``(D,)``; stored with unit norm
        :param thumbnail: small JPEG of the image for people; it stays in the file
        :returns: the keyframe with its number
        :raises MapFileError: for a descriptor or pose that is no such thing, a read-only map, a
            full disk; the map is then as it was
        """
        unit = rows.unit_descriptor(descriptor, self.dimension)
        stored = rows.encode_descriptor(unit, self.descriptor_dtype)
        pose_row = rows.pose_to_row(pose)
        with self._lock:
            session = self._session
            with self._file.transaction() as connection:
                if session is None:
                    session = rows.insert_session(connection, '')
                keyframe_id = rows.insert_keyframe(
                    connection, (session, int(stamp_ns), external_id, name), pose_row, stored)
                if thumbnail is not None:
                    connection.execute(
                        'INSERT INTO thumbnails VALUES (?, ?)', (keyframe_id, thumbnail))
            self._session = session
            self._stretches.note(keyframe_id, session)
            # as read back from the file, so that a map opened again answers the same
            row = (keyframe_id, *stored, zlib.crc32(stored[0]))
            self._index.add(np.array([keyframe_id]), rows.decode_descriptors(
                [row], self.descriptor_dtype, self.dimension))
        return Keyframe(
            keyframe_id=keyframe_id, session=session, stamp_ns=int(stamp_ns), pose=pose,
            external_id=external_id, name=name)

    def remove(self, keyframe_ids: Iterable[int]) -> int:
        """Remove keyframes, unknown numbers are ignored; return how many there were."""
        ids = np.fromiter((int(i) for i in keyframe_ids), np.int64)
        with self._lock:
            with self._file.transaction() as connection:
                connection.executemany('DELETE FROM keyframes WHERE id = ?', zip(ids.tolist()))
            self._stretches.edits += 1
            return self._index.remove(ids)

    def clear(self) -> None:
        """Remove all keyframes and sessions; their numbers are not used again."""
        with self._lock:
            with self._file.transaction() as connection:
                connection.execute('DELETE FROM thumbnails')
                connection.execute('DELETE FROM keyframes')
                connection.execute('DELETE FROM sessions')
            self._session = None
            self._stretches.clear()
            self._index = PlaceIndex(self.dimension, fetch=self._fetch, expected=0)

    def keyframes(self) -> list[Keyframe]:
        """Return all keyframes in the order they were added."""
        with self._lock, explained(self.path):
            return rows.all_keyframes(self._file.connection)

    def descriptors(
        self, keyframe_ids: Iterable[int], *, missing_ok: bool = False
    ) -> DescriptorArray:
        """
        Return stored descriptors.

        :returns: float32, unit norm, ``(M, D)`` in the order of the ids
        :raises MapFileError: for a number that is not in the map; ``missing_ok`` gives zeros
        """
        ids = np.fromiter((int(i) for i in keyframe_ids), np.int64)
        with self._lock:
            found = self._fetch(ids)
        gone = ~found.any(axis=1)
        if gone.any() and not missing_ok:
            raise MapFileError(f'the map has no keyframes {ids[gone][:5].tolist()} (any more)')
        return found

    def thumbnail(self, keyframe_id: int) -> bytes | None:
        """Return the stored picture of a keyframe, or None."""
        with self._lock, explained(self.path):
            return rows.thumbnail(self._file.connection, keyframe_id)

    def sessions(self) -> dict[int, str]:
        """Return the number and name of each mapping run."""
        with self._lock, explained(self.path):
            return dict(self._file.connection.execute('SELECT id, name FROM sessions ORDER BY id'))

    def search(
        self, descriptor: DescriptorArray, k: int, *, exclude_since_ns: int | None = None
    ) -> list[Candidate]:
        """
        Return the most similar keyframes, best first, equal ones by number.

        :param descriptor: float, ``(D,)``
        :param k: keyframes wanted
        :param exclude_since_ns: leave out keyframes of the current session stamped at or after it
        :raises MapFileError: for a descriptor that is no such thing, or an unreadable file
        """
        found = self.nearest(descriptor, k, skip=self.searchable(exclude_since_ns).skip)
        keyframes = self.keyframes_of([i for i, _ in found])
        return [Candidate(keyframes[i], similarity) for i, similarity in found if i in keyframes]

    def nearest(
        self, direction: DescriptorArray, k: int, *, skip: IdArray | None = None
    ) -> list[tuple[int, float]]:
        """
        Return the numbers of the most similar keyframes and their cosines, best first.

        :param direction: float, ``(D,)``, of any length
        :param k: keyframes wanted
        :param skip: numbers of keyframes that are no answer
        :raises MapFileError: for a direction that is none, or an unreadable file
        """
        query = rows.unit_descriptor(direction, self.dimension)
        with self._lock, explained(self.path):
            return self._index.search(query, k, skip=skip)

    def keyframes_of(self, keyframe_ids: Iterable[int]) -> dict[int, Keyframe]:
        """Return the keyframes that exist among some numbers: a writer may have removed some."""
        with self._lock, explained(self.path):
            return rows.keyframes_by_id(self._file.connection, [int(i) for i in keyframe_ids])

    def searchable(self, exclude_since_ns: int | None = None) -> Searchable:
        """Return what may be found now, as :meth:`search` does."""
        with self._lock, explained(self.path):
            return self._stretches.searchable(
                self._index.ids, self._recent(exclude_since_ns))

    def save(self) -> None:
        """
        Write everything into the one file, so that a copy of it alone is complete.

        :raises MapFileError: for a map in memory, or when the disk is full
        """
        with self._lock:
            if self.path is None:
                raise MapFileError('the map is in memory only; start with a map file to keep it')
            self._file.checkpoint()

    def close(self) -> None:
        """Close the file; it stands alone afterwards. Closing twice does no harm."""
        with self._lock:
            self._file.close()

    def _recent(self, since_ns: int | None) -> IdArray | None:
        """Return the ids of the current session stamped at or after a time."""
        if since_ns is None or self._session is None:
            return None
        recent = self._file.connection.execute(
            'SELECT id FROM keyframes WHERE session = ? AND stamp_ns >= ?',
            (self._session, max(int(since_ns), -2 ** 63)))  # SQLite knows no earlier time
        return np.fromiter((row[0] for row in recent), np.int64)

    def _fetch(self, ids: IdArray) -> DescriptorArray:
        """Return stored descriptors in the order of the ids; zeros where there is none."""
        with explained(self.path):
            return rows.descriptors_by_id(
                self._file.connection, ids, self.descriptor_dtype, self.dimension)

    def _load_index(self) -> PlaceIndex:
        """Return the index of everything stored, checking every descriptor."""
        connection = self._file.connection
        count = connection.execute('SELECT COUNT(*) FROM keyframes').fetchone()[0]
        index = PlaceIndex(self.dimension, fetch=self._fetch, expected=count)
        for keyframe_id, session in rows.session_starts(connection):
            self._stretches.note(keyframe_id, session)
        for block in rows.descriptor_blocks(connection, _LOAD_BLOCK):
            index.add(np.array([row[0] for row in block], np.int64), rows.decode_descriptors(
                block, self.descriptor_dtype, self.dimension))
        return index
