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
Results that are kept between runs: arrays and plain values under a key, one file each.

The key says what a result depends on. The name of a file ends with a digest of its bytes, so that
one that was damaged is noticed; it is removed and its work done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
import io
import json
from pathlib import Path
import tempfile
from typing import Any
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import VprError
from vpr_compressed.system.files import write_whole

_VALUES = 'values'
#: What reading a file that is not one of ours may raise.
_DAMAGE = (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Entry:
    """What one file holds: arrays by name, and plain data."""

    arrays: Mapping[str, NDArray[Any]]
    values: Any


class ContentCache:
    """
    A folder of results.

    :param folder: made if it is missing
    :raises VprError: if it cannot be written
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise self._refusal(error) from error

    def keep(self, key: str, entry: Entry) -> None:
        """
        Write a result.

        :raises VprError: if the disk is full
        """
        stream = io.BytesIO()
        text: Any = np.frombuffer(json.dumps(entry.values).encode(), np.uint8)
        np.savez_compressed(stream, **{_VALUES: text, **entry.arrays})
        data = stream.getvalue()
        try:
            write_whole(self.folder / f'{key}-{_digest(data)}.npz', data)
        except OSError as error:
            raise self._refusal(error) from error

    def paths(self, key: str) -> list[Path]:
        """Return the files whose key is this one, or begins with it and a hyphen, in order."""
        return sorted(self.folder.glob(f'{key}-*.npz'))

    def find(self, key: str) -> Iterator[Entry]:
        """Yield all whole results of a key."""
        for path in self.paths(key):
            found = self.read(path)
            if found is not None:
                yield found

    @staticmethod
    def read(path: Path) -> Entry | None:
        """Return what a file holds; one that is damaged is removed, and None returned."""
        try:
            data = path.read_bytes()
            if path.stem.endswith(_digest(data)):
                with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                    found = dict(arrays)
                return Entry(found, json.loads(found.pop(_VALUES).tobytes()))
        except _DAMAGE:
            pass
        path.unlink(missing_ok=True)
        return None

    def _refusal(self, error: OSError) -> VprError:
        return VprError(
            f'cannot keep descriptors in {self.folder}: {error.strerror}; choose another folder '
            'with --cache')


def _digest(data: bytes) -> str:
    """Return a digest for a file name."""
    return hashlib.sha256(data).hexdigest()[:24]
