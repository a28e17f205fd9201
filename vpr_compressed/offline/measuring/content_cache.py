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

Descriptors survive an interrupted evaluation one by one. An image is known by the SHA-256 of its
decoded pixels; the key stands for everything else that decides a descriptor. Only what was there
at the start is recalled, so an image that occurs twice in one evaluation is measured twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
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
from vpr_compressed.records import DescriptorArray
from vpr_compressed.system.files import write_whole

_VALUES = 'values'
#: A file is written after so many images, or after this share of all that are known.
_IMAGES, _SHARE = 16, 0.02
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


class DescribedImages:
    """
    Descriptors and times of images in a cache, in one file for some images each.

    Holds the descriptors of one file in memory, since the memory of the process is measured.

    :param key: what descriptors depend on besides the pixels
    """

    def __init__(self, cache: ContentCache, key: str) -> None:
        self._cache, self._key = cache, f'descriptors-{key}'
        self._read = lru_cache(maxsize=1)(cache.read)
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._new: list[tuple[bytes, DescriptorArray, float]] = []
        self._count = 0
        for path in cache.paths(self._key):
            found = self._read(path)
            digests = () if found is None else found.arrays['digests']
            # A later description of the same image replaces the earlier one.
            self._places.update(
                {digest.tobytes(): (path, row) for row, digest in enumerate(digests)})
            self._count += len(digests)

    def __len__(self) -> int:
        """Return the number of images that were known at the start."""
        return len(self._places)

    def get(self, digest: bytes) -> tuple[DescriptorArray, float] | None:
        """
        Return what is known of an image.

        :param digest: SHA-256 of its pixels
        :returns: descriptor ``(D,)`` and milliseconds, None if it is not known
        """
        path, row = self._places.get(digest, (None, 0))
        found = None if path is None else self._read(path)
        if found is None:
            return None
        return found.arrays['descriptors'][row], float(found.arrays['milliseconds'][row])

    def put(self, digest: bytes, descriptor: DescriptorArray, milliseconds: float) -> None:
        """Keep a description; a full disk costs the next run time, but not this one."""
        self._new.append((digest, descriptor, milliseconds))
        if len(self._new) >= max(_IMAGES, _SHARE * self._count):
            self.save()

    def save(self) -> None:
        """Write what was put since the last time."""
        if not self._new:
            return
        digests, descriptors, milliseconds = zip(*self._new)
        self._count += len(self._new)
        self._new.clear()
        try:
            # The number puts the files into the order in which they were written.
            self._cache.keep(f'{self._key}-{self._count:09}', Entry({
                'digests': np.frombuffer(b''.join(digests), np.uint8).reshape(-1, 32),
                'descriptors': np.stack(descriptors), 'milliseconds': np.array(milliseconds)},
                None))
        except VprError:
            return


def _digest(data: bytes) -> str:
    """Return a digest for a file name."""
    return hashlib.sha256(data).hexdigest()[:24]
