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

"""Describe every image of a calibration once, however many walks it is on."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
from itertools import accumulate
from itertools import pairwise
from pathlib import Path
import zlib

import numpy as np

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy.night import darken
from vpr_compressed.offline.calibration.evidence import Route
from vpr_compressed.offline.calibration.evidence import Tick
from vpr_compressed.offline.measuring.content_cache import ContentCache
from vpr_compressed.offline.measuring.content_cache import DescribedImages
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import Frame
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.files import cache_key


@dataclass(frozen=True)
class Wanted:
    """An image of a source, as it is or as it would be by night."""

    index: int
    dark: bool = False


@dataclass(frozen=True)
class Described:
    """What is known of an image; never its pixels."""

    descriptor: DescriptorArray
    stamp_ns: int
    pose: Pose | None


class Describer:
    """
    The network at work, with a memory on disk.

    :param cache: folder that keeps descriptors for the next time, None for none
    :raises VprError: the folder cannot be written
    """

    def __init__(self, extractor: Extractor, cache: Path | None = None) -> None:
        self._extractor = extractor
        self._known = None if cache is None else DescribedImages(
            ContentCache(cache), cache_key([extractor.descriptor_id, extractor.engine_name]))

    def describe(
        self, source: ImageSource, wanted: Sequence[Wanted], tick: Tick
    ) -> dict[Wanted, Described]:
        """
        Describe some images of a source.

        :param tick: called after each
        :raises SourceError: the source ends early
        :raises ImageFormatError: an image cannot be decoded
        """
        ways: dict[int, list[Wanted]] = {}
        for each in dict.fromkeys(wanted):
            ways.setdefault(each.index, []).append(each)
        found: dict[Wanted, Described] = {}
        try:
            for frame in source:
                for each in ways.pop(frame.index, ()):
                    descriptor = self._descriptor(_pixels(frame, each, self._extractor))
                    found[each] = Described(descriptor, frame.stamp_ns, frame.pose)
                    tick()
        finally:
            if self._known is not None:
                self._known.save()
        if ways:
            raise SourceError(
                f'{source.describe()} ended before image {min(ways)}; it is damaged or was '
                'changed while it was read')
        return found

    def _descriptor(self, image: ImageArray) -> DescriptorArray:
        """Return the descriptor of an image, from the cache if it is there."""
        if self._known is None:
            return self._extractor.describe(image)
        digest = hashlib.sha256(f'{image.shape}'.encode() + image.tobytes()).digest()
        known = self._known.get(digest)
        if known is not None:
            return known[0]
        descriptor = self._extractor.describe(image)
        self._known.put(digest, descriptor, 0.0)
        return descriptor


def route_of(
    images: Mapping[Wanted, Described], order: Sequence[Wanted], *, rate_hz: float | None = None
) -> Route:
    """
    Return images in an order, in which time always goes on.

    :param rate_hz: images per second where stamps mean nothing; None: as much time passes from
        one to the next as their stamps differ
    """
    described = [images[each] for each in order]
    if rate_hz is not None:
        passed_ns = [round(number * 1e9 / rate_hz) for number in range(len(order))]
    else:
        stamps_ns = [each.stamp_ns for each in described]
        steps = [0, *(abs(later - sooner) for sooner, later in pairwise(stamps_ns))]
        passed_ns = [stamps_ns[0] + passed for passed in accumulate(steps)]
    return Route(np.stack([each.descriptor for each in described]), tuple(passed_ns))


def _pixels(frame: Frame, wanted: Wanted, extractor: Extractor) -> ImageArray:
    """Return an image as it is wanted; the same name gives the same night."""
    image = frame.load(at_least=extractor.input_size)
    if wanted.dark:
        return darken(image, np.random.default_rng(zlib.crc32(frame.name.encode())))
    return image
