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
Descriptors that survive an interrupted evaluation, and the extractor that recalls them.

An image is known by the SHA-256 of its decoded pixels; the key of the cache stands for everything
else that decides a descriptor: model, engine, code, machine. Only what was there at the start is
recalled, so an image that occurs twice in one evaluation is measured twice.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vpr_compressed.errors import VprError
from vpr_compressed.offline.measuring.content_cache import ContentCache
from vpr_compressed.offline.measuring.content_cache import Entry
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray

#: A file is written after so many images, or after this share of all that are known.
_IMAGES, _SHARE = 16, 0.02


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


class RecallingExtractor:
    """
    An extractor that can be told what it will find.

    Looking an image up is no part of the time that describing it takes.
    """

    def __init__(self, extractor: ImageDescriber) -> None:
        self._extractor = extractor
        #: Descriptor of the next image, None if it is not known.
        self.known: DescriptorArray | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return the descriptor that is known, else what the network computes."""
        return self._extractor.describe(image) if self.known is None else self.known
