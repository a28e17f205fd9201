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
Describe the images of a recording once, then walk through it as often as wanted.

Descriptors are expensive and the decision is cheap. Both ways go through
:meth:`Recognizer.process`, the method the ROS node calls for each image: at first with the
network, later with an extractor that recalls what the network said.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from dataclasses import replace
import hashlib
import tempfile
from typing import Any

import numpy as np

from vpr_compressed.errors import SourceError
from vpr_compressed.errors import VprError
from vpr_compressed.offline.measuring.content_cache import DescribedImages
from vpr_compressed.offline.measuring.replay import Shown
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.sources import Frame
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.processes import Progress

#: Stands for an image whose descriptor is known.
NO_IMAGE: ImageArray = np.zeros((1, 1, 3), np.uint8)


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


@dataclass(frozen=True)
class DescribedFrame:
    """What is kept of an image besides its descriptor; ``inference_ms`` is that of describing."""

    index: int
    name: str
    stamp_ns: int
    pose: Pose | None
    inference_ms: float


class DescribedWalk:
    """
    The images of one recording with their descriptors.

    These lie in a file that is read, not mapped: they would count as memory of the model.
    """

    def __init__(self) -> None:
        self.frames: list[DescribedFrame] = []
        self._stream = tempfile.TemporaryFile(prefix='vpr_compressed-walk-')  # noqa: SIM115

    def add(self, frame: Frame, recognition: Recognition) -> None:
        """
        Take the next image.

        :raises VprError: if the disk is full
        """
        try:
            self._stream.write(np.ascontiguousarray(recognition.descriptor, np.float32).tobytes())
        except OSError as error:
            raise VprError(
                f'cannot keep descriptors in {tempfile.gettempdir()}: {error.strerror}') from error
        self.frames.append(DescribedFrame(
            frame.index, frame.name, frame.stamp_ns, frame.pose, recognition.inference_ms))

    def descriptor(self, number: int) -> DescriptorArray:
        """Return the descriptor of an image, float32 ``(D,)``."""
        self._stream.flush()
        size = self._stream.seek(0, 2) // len(self.frames)
        self._stream.seek(number * size)
        return np.frombuffer(self._stream.read(size), np.float32)

    def close(self) -> None:
        """Remove the descriptors."""
        self._stream.close()


class Walker:
    """
    Sends images through a recogniser, and counts those that come from a recording.

    :param known: descriptors of an earlier run, used instead of the network, and kept for the
        next
    :param progress: called after each image that was described, with those done and in all
    :param total: images of all recordings
    """

    def __init__(
        self, recognizer: Recognizer, extractor: RecallingExtractor,
        known: DescribedImages | None, progress: Progress, *, total: int
    ) -> None:
        self._recognizer, self._extractor, self._known = recognizer, extractor, known
        self._progress, self._done, self._total = progress, 0, total
        self.recalled = 0
        #: SHA-256 of all pixels, for each recording that was walked through.
        self.digests: list[str] = []

    def through(
        self, source: ImageSource, *, without: AbstractSet[int] = frozenset()
    ) -> Iterator[tuple[Frame, Recognition | None]]:
        """
        Yield each frame with what came out.

        :param without: images that are read, but not recognised
        :raises SourceError: fewer frames than announced, so all numbers would be wrong
        """
        start, pixels = self._done, hashlib.sha256()
        for frame in source:
            image = frame.load(at_least=self._recognizer.input_size)
            data = f'{image.shape}'.encode() + image.tobytes()
            pixels.update(data)
            yield frame, None if frame.index in without else self._recognise(
                frame, image, hashlib.sha256(data).digest())
            self._done += 1
            self._progress(self._done, self._total)
        if self._done - start != len(source):
            raise SourceError(
                f'{source.describe()} gave only {self._done - start} images; it is damaged or was '
                'changed while it was read')
        self.digests.append(pixels.hexdigest())

    def described(self, source: ImageSource, walk: DescribedWalk) -> Iterator[DescriptorArray]:
        """Describe a recording without searching the map; yield the descriptors as they come."""
        self._recognizer.mapping = self._recognizer.localization = False
        for frame, recognition in self.through(source):
            if recognition is not None:
                walk.add(frame, recognition)
                yield recognition.descriptor

    def again(
        self, walk: DescribedWalk, shown: Sequence[Shown], *, odometry: bool = False
    ) -> Iterator[tuple[DescribedFrame, Recognition]]:
        """
        Yield the images of a replay with what came out; the network is not asked.

        :param odometry: whether the poses of the images are that, too
        """
        for each in shown:
            if each.cold:
                self._recognizer.reset()
            frame = walk.frames[each.index]
            self._extractor.known = walk.descriptor(each.index)
            yield frame, self._recognizer.process(
                NO_IMAGE, stamp_ns=each.stamp_ns, pose=frame.pose,
                odometry=frame.pose if odometry else None, name=frame.name)

    def _recognise(self, frame: Frame, image: ImageArray, digest: bytes) -> Recognition:
        """Recognise one image; an earlier run may have described it."""
        found = None if self._known is None else self._known.get(digest)
        self._extractor.known = None if found is None else found[0]
        recognition = self._recognizer.process(
            image, stamp_ns=frame.stamp_ns, pose=frame.pose, name=frame.name)
        if found is not None:
            self.recalled += 1
            return replace(recognition, inference_ms=found[1])
        if self._known is not None:
            self._known.put(digest, recognition.descriptor, recognition.inference_ms)
        return recognition
