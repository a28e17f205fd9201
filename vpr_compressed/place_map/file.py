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
The map as an SQLite file: creating, checking, locking, opening and closing it.

While a map is open for writing it is in WAL mode with full synchronisation and has a sidecar
``<map>.lock`` that keeps a second writer out; the lock goes with the process, however that ends.
Closing writes everything into the one file and removes the sidecars. Reading never leaves
files behind: what a killed writer left is brought into the file first where that may be written,
else read through a private copy.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import suppress
import fcntl
from functools import partial
import os
from pathlib import Path
import shutil
import sqlite3
import tempfile
from urllib.parse import quote

from vpr_compressed.errors import MapFileError
from vpr_compressed.place_map.rows import APPLICATION_ID
from vpr_compressed.place_map.rows import SCHEMA_VERSION
from vpr_compressed.place_map.rows import write_schema
from vpr_compressed.system.files import whole_file

#: Seconds to wait for another process that holds the file for a moment.
TIMEOUT_S = 2.0

NOT_A_MAP = 'is not a map of this package; make one with "vpr_compressed build-map"'
DAMAGED = ('is damaged; restore a copy, or save what is left with '
           '"sqlite3 MAP .recover" and build the map again')

#: What is looked at before a map is read. The thumbnails are most of its bytes, nothing depends on
#: them, and each is found out when it is asked for; a writer looks at the whole file, because what
#: it adds may go anywhere. SQLite before 3.33 knows no tables here and always looks at everything.
_TABLES_TO_READ = ('header', 'sessions', 'keyframes')

#: Part of SQLite's message -> what it means for a map and what to do.
_REMEDIES = (
    ('not a database', NOT_A_MAP),
    ('disk is full', 'cannot grow: the disk is full; free some space. '
                     'Everything stored before is kept'),
    ('readonly', 'cannot be written; check the permissions of the file and its directory'),
    ('locked', 'is in use by another process; stop that one or take another file'),
    ('closed database', 'is closed already; open it again'),
    ('disk I/O error', 'cannot be read or written: the disk reports an error; '
                       'check the disk, and restore a copy of the map if need be'),
    ('unable to open', 'cannot be opened; check its directory and the permissions of both'),
    ('malformed', DAMAGED),
    ('no such', DAMAGED),
    ('file is encrypted', NOT_A_MAP),
)


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """
    Turn errors of SQLite and the file system into MapFileError.

    :raises MapFileError: with the cause and the remedy
    """
    name = f'map {path}' if path else 'the map in memory'
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        for part, meaning in _REMEDIES:
            if part in text:
                raise MapFileError(f'{name} {meaning} (SQLite: {text})') from error
        raise MapFileError(f'{name} cannot be used: {text}; check file and disk') from error
    except OSError as error:
        raise MapFileError(
            f'{name} cannot be used: {error.strerror or error}; check path, permissions and '
            'free space') from error


class MapFile:
    """
    An open connection to a checked map.

    :param connection: in autocommit mode, usable from any thread under the owner's lock
    :param path: the map, or None in memory
    :param undo: what is done at the end, closing the connection included
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path | None, undo: ExitStack, *,
        read_only: bool
    ) -> None:
        self.connection = connection
        self.path = path
        self.read_only = read_only
        self._undo = undo

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """
        Do everything in the block or nothing of it; durable when the block has ended.

        :raises MapFileError: when the map is read-only, the disk is full, ...
        """
        if self.read_only:
            raise MapFileError(f'map {self.path} is open read-only; open it for writing')
        with explained(self.path):
            self.connection.execute('BEGIN IMMEDIATE')
            try:
                yield self.connection
                self.connection.execute('COMMIT')
            except BaseException:
                # SQLite rolls back by itself on some errors, a second time would be an error
                if self.connection.in_transaction:
                    self.connection.execute('ROLLBACK')
                raise

    def checkpoint(self) -> None:
        """Write everything into the one file, so that a copy of it alone is complete."""
        if not self.read_only and self.path is not None:
            with explained(self.path):
                self.connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')

    def close(self) -> None:
        """Close; afterwards the file stands alone. Closing twice does no harm."""
        if not self.read_only and self.path is not None:
            with suppress(sqlite3.Error):  # closed already, or a reader is there: WAL stays
                self.connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
                self.connection.execute('PRAGMA journal_mode = DELETE')
        self._undo.close()


def create_file(path: Path | None, header: tuple[object, ...], *, overwrite: bool) -> MapFile:
    """
    Make an empty map; it appears under its name only when complete.

    :param header: columns of ``header`` after ``id``
    :raises MapFileError: when the file exists or cannot be made
    """
    if path is None:
        undo = ExitStack()
        connection = undo.enter_context(closing(_connect(':memory:')))
        write_schema(connection, header)
        connection.execute('PRAGMA foreign_keys = ON')
        return MapFile(connection, None, undo, read_only=False)
    with explained(path):
        if path.is_dir() or (path.exists() and not overwrite):
            raise MapFileError(
                f'map {path} exists already; add to it (--append), replace it (--overwrite), or '
                'choose another name')
    return _open_for_writing(path, partial(_put_empty, path, header, overwrite))


def open_file(path: Path, *, read_only: bool) -> MapFile:
    """
    Open a map and check that it is whole.

    :raises MapFileError: when it is missing, no map, damaged, newer than this build, or in use
    """
    with explained(path):
        if not path.exists():
            raise MapFileError(
                f'map {path} does not exist; make one with "vpr_compressed build-map" or by '
                'mapping with the node')
        if not path.is_file():
            raise MapFileError(f'map {path} is not a file; name the map file itself')
        return _open_for_reading(path) if read_only else _open_for_writing(path)


def _open_for_writing(path: Path, empty: Callable[[], None] | None = None) -> MapFile:
    """
    Return the map in WAL mode, with other writers kept out.

    :param empty: puts an empty map there first
    """
    with ExitStack() as undo, explained(path):
        undo.enter_context(_only_writer(path))
        if empty is not None:
            empty()
        connection = undo.enter_context(closing(_connect(_uri(path, 'mode=rw'))))
        _check(connection, path)
        connection.execute('PRAGMA journal_mode = WAL')
        connection.execute('PRAGMA synchronous = FULL')
        connection.execute('PRAGMA foreign_keys = ON')
        connection.execute('BEGIN IMMEDIATE')  # fails now rather than at the first keyframe
        connection.execute('ROLLBACK')
        return MapFile(connection, path, undo.pop_all(), read_only=False)


def _open_for_reading(path: Path) -> MapFile:
    """Return the map without leaving files, whatever state a writer left it in."""
    with ExitStack() as meanwhile:
        try:
            meanwhile.enter_context(_only_writer(path))
        except MapFileError:  # a writer is at work: read along
            return _open_settled(path, path, 'mode=ro', ExitStack())
        except OSError:  # the directory cannot be written, so nobody is changing the map
            return _open_unsettled(path)
        if _settle(path):
            return _open_settled(path, path, 'mode=ro', ExitStack())
        return _open_unsettled(path)


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """
    Keep a second writer of a map out; the system lets it in when the process ends.

    :raises MapFileError: when another writer is at work
    :raises OSError: when the lock file can be neither made nor opened
    """
    lock = path.with_name(f'{path.name}.lock')
    handle = _lock(lock, path)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(handle)


def _lock(lock: Path, path: Path) -> int:
    """Return the locked file; try again when its last owner removed it meanwhile."""
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            if not lock.exists():
                raise
            handle = os.open(lock, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise MapFileError(
                f'map {path} is being written by another process; stop that one, open the map '
                'read-only, or take another file') from error
        except FileNotFoundError:
            pass
        os.close(handle)


def _settle(path: Path) -> bool:
    """Bring what a killed writer left into the file; return False where that may not be done."""
    with closing(_connect(_uri(path, 'mode=rw'))) as connection:
        try:
            _check_identity(connection, path)
            connection.execute('PRAGMA journal_mode = DELETE')
        except sqlite3.OperationalError as error:
            if 'readonly' in str(error) or 'unable to open' in str(error):
                return False
            raise
    return True


def _open_unsettled(path: Path) -> MapFile:
    """Return a map in a place that cannot be written."""
    log = path.with_name(f'{path.name}-wal')
    if not (log.exists() and log.stat().st_size):
        return _open_settled(path, path, 'mode=ro&immutable=1', ExitStack())
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix='vpr_map_'))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        shutil.copyfile(path, folder / path.name)
        shutil.copyfile(log, folder / log.name)
        _settle(folder / path.name)
        return _open_settled(folder / path.name, path, 'mode=ro', undo.pop_all())


def _open_settled(actual: Path, path: Path, how: str, undo: ExitStack) -> MapFile:
    """Return a checked read-only connection to ``actual``, known as ``path``."""
    with undo:
        connection = undo.enter_context(closing(_connect(_uri(actual, how))))
        _check(connection, path, _TABLES_TO_READ)
        return MapFile(connection, path, undo.pop_all(), read_only=True)


def _check(
    connection: sqlite3.Connection, path: Path, parts: tuple[str, ...] = ('1',)
) -> None:
    """
    Raise MapFileError unless the file is a whole map this build can read.

    :param parts: tables to look at; ``1`` looks at everything and stops at the first fault
    """
    _check_identity(connection, path)
    for part in parts:
        answer = str(connection.execute(f'PRAGMA quick_check({part})').fetchone()[0])
        if answer != 'ok':
            raise MapFileError(f'map {path} {DAMAGED} (SQLite: {answer.splitlines()[0]})')


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    """Raise MapFileError unless the file says it is a map of a known version."""
    found = connection.execute('PRAGMA application_id').fetchone()[0]
    if found != APPLICATION_ID:
        raise MapFileError(f'{path} {NOT_A_MAP} (application id {found:#x})')
    version = connection.execute('PRAGMA user_version').fetchone()[0]
    if not 1 <= version <= SCHEMA_VERSION:
        raise MapFileError(
            f'map {path} has format version {version}, this build reads up to {SCHEMA_VERSION}; '
            'update vpr_compressed or build the map again')


def _put_empty(path: Path, header: tuple[object, ...], overwrite: bool) -> None:
    """Write an empty map beside ``path`` and move it there."""
    with whole_file(path, overwrite=overwrite) as part:
        with closing(_connect(_uri(part, 'mode=rwc'))) as connection:
            write_schema(connection, header)
        # A log of the file that was here before would be applied to the new one.
        for suffix in ('-wal', '-shm', '-journal'):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(target: str) -> sqlite3.Connection:
    """Return an autocommit connection that any thread may use (the owner has a lock)."""
    return sqlite3.connect(
        target, uri=target != ':memory:', timeout=TIMEOUT_S, isolation_level=None,
        check_same_thread=False)


def _uri(path: Path, how: str) -> str:
    """Return the SQLite URI of a file."""
    return f'file:{quote(str(path.absolute()))}?{how}'
