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
Files that appear under their name whole, or not at all; the folder for caches and their keys.

What is written goes to a part file beside the target, ``NAME.PID.part``. A process that is killed
leaves the old file, or none, and that part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import hashlib
import json
import os
from pathlib import Path
import tempfile


def write_whole(path: Path, data: bytes | bytearray, *, overwrite: bool = True) -> None:
    """
    Write a file in one step.

    :param overwrite: replace a file of that name; without, it is an error
    :raises FileExistsError: if there is one and ``overwrite`` is False
    :raises OSError: if it cannot be written
    """
    with whole_file(path, overwrite=overwrite) as part:
        part.write_bytes(data)


@contextmanager
def whole_file(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """
    Yield a path to write to; the file moves to ``path`` when the block ends without an error.

    Missing folders are made, and what was written has reached the disk before it is moved.

    :param overwrite: as for :func:`write_whole`; checked before the block and again after it
    :raises FileExistsError: if there is one and ``overwrite`` is False, or it is no file
    :raises OSError: if it cannot be written
    """
    # A device such as /dev/null would be gone for all programs if root replaced it.
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file, and not the target
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    part.unlink(missing_ok=True)  # of a dead process whose number this one has
    try:
        yield part
        _sync(part)
        if overwrite:
            part.replace(path)
        else:
            _move_to_new(part, path)
        # A power cut would else lose the name with all that the file gets later.
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the folder for what can be made again (XDG base directories)."""
    root = os.environ.get('XDG_CACHE_HOME', '')
    try:
        return (Path(root) if root else Path.home() / '.cache') / 'vpr_compressed'
    except RuntimeError:  # a service of a user without a home
        return Path(tempfile.gettempdir()) / f'vpr_compressed-{os.getuid()}'


def cache_key(facts: object) -> str:
    """Return 32 hex digits that change with anything in ``facts``, which JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _move_to_new(part: Path, path: Path) -> None:
    """Give a file a name that no other has; of two processes at once, one fails."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, as on many memory cards
        path.touch(exist_ok=False)
        part.replace(path)


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
