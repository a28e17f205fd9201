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

"""A lock file beside the map that keeps a second writer out."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
from types import ModuleType

from vpr_compressed.errors import MapFileError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: SQLite's own locks still keep the file whole
    fcntl = None


class WriterLock:
    """
    Keeps a second writer of one map out; released by the system when the process ends.

    :param path: the map
    :raises MapFileError: when another writer holds it
    :raises OSError: when the lock file can be neither made nor opened
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f'{path.name}.lock')
        self._handle = self._acquire(path)

    def _acquire(self, path: Path) -> int:
        """Return the locked file; try again when its last owner removed it meanwhile."""
        while True:
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError:
                if not self._path.exists():
                    raise
                handle = os.open(self._path, os.O_RDONLY)
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(handle), self._path.stat()):
                    return handle
            except BlockingIOError as error:
                os.close(handle)
                raise MapFileError(
                    f'map {path} is being written by another process; stop that one, open the '
                    'map read-only, or take another file') from error
            except FileNotFoundError:
                pass
            os.close(handle)

    def release(self) -> None:
        """Remove the lock file and let others in."""
        with suppress(OSError):
            self._path.unlink()
        os.close(self._handle)
