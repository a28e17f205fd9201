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
Descriptors that survive an interrupted evaluation: an append-only file of checksummed records.

One record per image: SHA-256 of its decoded pixels (32 bytes), the milliseconds its description
took (float64), the descriptor (float32), CRC-32 of all this and of the key of the file (4 bytes).
The key stands for everything else that decides a descriptor: model, engine, code, machine. A
record that fails its checksum, such as the last one of a process that was killed, is dropped and
its image described again. Only records that were there when the file was opened are recalled, so
an image that occurs twice in one evaluation is measured twice.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
import os
from pathlib import Path
import zlib

import numpy as np

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import SimilarityCalibration
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray

_DIGEST, _TIME, _CHECK = 32, 8, 4


class DescriptorStore:
    """
    One file of descriptors; holds none of them in memory.

    :param path: the file; made when it is missing, its damaged records are removed
    :param key: what its descriptors depend on besides the pixels
    :param dimension: values per descriptor
    :raises VprError: if it cannot be read or written
    """

    def __init__(self, path: Path, *, key: str, dimension: int) -> None:
        self._path, self._seed = path, zlib.crc32(key.encode())
        self._size = _DIGEST + _TIME + 4 * dimension + _CHECK
        self._offsets: dict[bytes, int] = {}
        self._writable = True
        try:
            self._repair()
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise VprError(
                f'cannot keep descriptors in {path}: {error.strerror}; choose another folder '
                'with --cache') from error

    def __len__(self) -> int:
        """Return the number of images that were known when the file was opened."""
        return len(self._offsets)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def get(self, digest: bytes) -> tuple[DescriptorArray, float] | None:
        """
        Return what is known of an image.

        :param digest: SHA-256 of its pixels
        :returns: descriptor ``(D,)`` and milliseconds, None if it is not known
        """
        offset = self._offsets.get(digest)
        if offset is None:
            return None
        record = os.pread(self._descriptor, self._size, offset)
        if not self._good(record) or not record.startswith(digest):
            return None
        times = np.frombuffer(record, '<f8', 1, _DIGEST)
        values = np.frombuffer(record[:-_CHECK], '<f4', offset=_DIGEST + _TIME)
        return values.astype(np.float32), float(times[0])

    def put(self, digest: bytes, descriptor: DescriptorArray, milliseconds: float) -> None:
        """Keep a description; a full disk costs the next run time, but not this one."""
        body = digest + np.float64(milliseconds).tobytes() + np.asarray(
            descriptor, '<f4').tobytes()
        record = body + zlib.crc32(body, self._seed).to_bytes(_CHECK, 'little')
        if not self._writable:
            return
        try:
            # One call on a file opened for appending: another process may do the same.
            self._writable = os.write(self._descriptor, record) == len(record)
        except OSError:
            self._writable = False

    def _good(self, record: bytes) -> bool:
        """Return whether a record is whole and of this file."""
        return len(record) == self._size and zlib.crc32(
            record[:-_CHECK], self._seed).to_bytes(_CHECK, 'little') == record[-_CHECK:]

    def _repair(self) -> None:
        """Note where each good record is; write the file anew if others are between them."""
        if not self._path.exists():
            return
        bad = False
        with self._path.open('rb') as stream:
            for number, record in enumerate(_blocks(stream.read, self._size)):
                if self._good(record):
                    self._offsets[record[:_DIGEST]] = number * self._size
                else:
                    bad = True
        if bad:
            self._rewrite()

    def _rewrite(self) -> None:
        """Keep the good records only."""
        part = self._path.with_suffix(f'.{os.getpid()}.part')
        offsets = {}
        with self._path.open('rb') as stream, part.open('wb') as target:
            for digest, offset in self._offsets.items():
                offsets[digest] = target.tell()
                stream.seek(offset)
                target.write(stream.read(self._size))
        part.replace(self._path)
        self._offsets = offsets


@contextmanager
def opened(path: Path, *, key: str, dimension: int) -> Iterator[DescriptorStore]:
    """Open a store and close it again."""
    store = DescriptorStore(path, key=key, dimension=dimension)
    try:
        yield store
    finally:
        store.close()


class RecallingExtractor:
    """
    An extractor that runs the network only for images it does not know.

    For each image, :meth:`prepare` looks it up outside the time that is measured, ``describe``
    answers, and :meth:`settle` gives the milliseconds the network took, now or then.
    """

    def __init__(self, extractor: ImageDescriber, store: DescriptorStore) -> None:
        self._extractor, self._store = extractor, store
        self._digest = b''
        self._known: tuple[DescriptorArray, float] | None = None
        self._described: DescriptorArray | None = None
        self.recalled = 0

    @property
    def dimension(self) -> int:
        """Return the number of values per descriptor."""
        return self._extractor.dimension

    @property
    def descriptor_id(self) -> str:
        """Return the id that maps of this model carry."""
        return self._extractor.descriptor_id

    @property
    def calibration(self) -> SimilarityCalibration:
        """Return what a similarity of this model is worth."""
        return self._extractor.calibration

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Return width and height of the network input, None if there is none."""
        size: tuple[int, int] | None = getattr(self._extractor, 'input_size', None)
        return size

    def prepare(self, image: ImageArray) -> None:
        """Look an image up."""
        digest = hashlib.sha256(f'{image.shape}'.encode())
        digest.update(np.ascontiguousarray(image).data)
        self._digest, self._described = digest.digest(), None
        self._known = self._store.get(self._digest)

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return the descriptor of the image that was prepared, float32 ``(D,)``."""
        if self._known is not None:
            return self._known[0]
        self._described = self._extractor.describe(image)
        return self._described

    def settle(self, milliseconds: float) -> float:
        """
        Keep a new description.

        :param milliseconds: what ``describe`` took now
        :returns: what the network took for this image, possibly in an earlier run
        """
        if self._known is not None:
            self.recalled += 1
            return self._known[1]
        if self._described is not None:
            self._store.put(self._digest, self._described, milliseconds)
        return milliseconds


def _blocks(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Yield what a file holds in pieces of one size, the last one possibly shorter."""
    while block := read(size):
        yield block
