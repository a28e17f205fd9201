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
Measure a model on two recordings: map the first, recognise the second.

Both go through :meth:`Recognizer.process`, the method the ROS node calls for each image, so
what is measured here is what runs on the robot. A process of its own does it, so sources and
results can be made plain data and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from vpr_compressed.errors import SourceError
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.offline.measuring.content_cache import DescribedImages
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import FolderSource
from vpr_compressed.sources import Frame
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources.bag import BagSource
from vpr_compressed.system import memory
from vpr_compressed.system.processes import Progress
from vpr_compressed.system.processes import silent

#: Rankings are complete up to this many similarities in all, so that memory stays bounded.
MAX_SIMILARITIES = 4_000_000
MIN_DEPTH = 100
#: The fields of a :class:`RecognitionRun` that are arrays; the others are plain data.
ARRAYS = ('rows', 'similarities')


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """
    What one query led to; rows are indices into the reference.

    :param match_row: accepted place, or None for "I do not know"
    :param confidence: calibrated probability of the accepted place, 0 without one
    :param votes: recent frames that agreed, 0 without an accepted place
    :param inference_ms: pre-processing and network
    :param search_ms: search and agreement over time
    """

    index: int
    name: str
    stamp_ns: int
    match_row: int | None
    match_similarity: float
    confidence: float
    votes: int
    inference_ms: float
    search_ms: float


@dataclass(frozen=True, kw_only=True)
class RecognitionRun:
    """
    Everything that was observed, before any accuracy is computed.

    :param rows: reference indices in the order of the map's own search, ``(Q, K)``, -1 for none
    :param similarities: cosines to ``rows``, ``(Q, K)``, NaN for none
    :param reference_names: name of each reference image, length R
    :param reference_sha256: digest of the decoded pixels; equal from a folder and from a bag
    :param resident_bytes: memory of the whole process after the last query
    :param recalled: images of both that an earlier, interrupted run had described; their
        ``inference_ms`` are from then
    """

    queries: tuple[QueryResult, ...]
    rows: IntArray
    similarities: FloatArray
    reference_names: tuple[str, ...]
    reference_sha256: str
    query_sha256: str
    bytes_per_place: float
    resident_bytes: int
    recalled: int = 0


def measure(
    reference: ImageSource, query: ImageSource, extractor: Extractor, *,
    progress: Progress = silent, known: DescribedImages | None = None,
) -> RecognitionRun:
    """
    Map the reference in memory, every image one place, then recognise every query image.

    :param progress: called after each image with those done and in all
    :param known: descriptors of an earlier run, used instead of the network, and kept for the
        next; the recogniser runs on all images in any case
    :raises SourceError: a source ends early
    :raises ImageFormatError: an image cannot be decoded
    """
    place_map = PlaceMap.create(
        None, descriptor_id=extractor.descriptor_id, dimension=extractor.dimension,
        model_name=extractor.model_name)
    recalling: Any = _RecallingExtractor(extractor)
    # The node's configuration, except that mapping leaves no image out.
    recognizer = Recognizer(recalling, place_map, RecognizerConfig(
        keyframe_min_interval_s=0.0, keyframe_min_distance_m=0.0))
    walk = _Walk(recognizer, recalling, known, progress, total=len(reference) + len(query))
    row_of: dict[int, int] = {}
    names, queries, rows, similarities = [], [], [], []
    try:
        recognizer.mapping, recognizer.localization = True, False
        for frame, recognition in walk.through(reference):
            if recognition.added is not None:
                row_of[recognition.added.keyframe_id] = frame.index
            names.append(frame.name)
        # As a robot that was just switched on.
        recognizer.reset()
        recognizer.mapping, recognizer.localization = False, True
        depth = min(len(place_map), max(MIN_DEPTH, MAX_SIMILARITIES // max(1, len(query))))
        for frame, recognition in walk.through(query):
            # The map's own ranking of its places, as deep as allowed.
            found = place_map.search(recognition.descriptor, depth)
            missing = depth - len(found)
            rows.append(np.array(
                [row_of[each.keyframe.keyframe_id] for each in found] + [-1] * missing, np.int64))
            similarities.append(np.array(
                [each.similarity for each in found] + [np.nan] * missing, np.float64))
            queries.append(_result(frame, recognition, row_of))
        return RecognitionRun(
            queries=tuple(queries), rows=np.stack(rows), similarities=np.stack(similarities),
            reference_names=tuple(names),
            reference_sha256=walk.digests[0], query_sha256=walk.digests[1],
            bytes_per_place=float(place_map.bytes_per_place),
            resident_bytes=memory.resident_bytes(), recalled=walk.recalled)
    finally:
        place_map.close()
        if known is not None:
            known.save()


class _RecallingExtractor:
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


class _Walk:
    """Sends the images of both recordings through a recogniser, and counts them."""

    def __init__(
        self, recognizer: Recognizer, extractor: _RecallingExtractor,
        known: DescribedImages | None, progress: Progress, *, total: int
    ) -> None:
        self._recognizer, self._extractor, self._known = recognizer, extractor, known
        self._progress, self._done, self._total = progress, 0, total
        self.recalled = 0
        #: SHA-256 of all pixels, for each recording that was walked through.
        self.digests: list[str] = []

    def through(self, source: ImageSource) -> Iterator[tuple[Frame, Recognition]]:
        """
        Yield each frame with what came out.

        :raises SourceError: fewer frames than announced, so all numbers would be wrong
        """
        start, pixels = self._done, hashlib.sha256()
        for frame in source:
            image = frame.load(at_least=self._recognizer.input_size)
            data = f'{image.shape}'.encode() + image.tobytes()
            pixels.update(data)
            yield frame, self._recognise(frame, image, hashlib.sha256(data).digest())
            self._done += 1
            self._progress(self._done, self._total)
        if self._done - start != len(source):
            raise SourceError(
                f'{source.describe()} gave only {self._done - start} images; it is damaged or was '
                'changed while it was read')
        self.digests.append(pixels.hexdigest())

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


def _result(
    frame: Frame, recognition: Recognition, row_of: Mapping[int, int]
) -> QueryResult:
    """Return the record of one query."""
    match = recognition.match
    return QueryResult(
        index=frame.index, name=frame.name, stamp_ns=frame.stamp_ns,
        match_row=None if match is None else row_of[match.keyframe.keyframe_id],
        match_similarity=0.0 if match is None else match.similarity,
        confidence=0.0 if match is None else match.confidence,
        votes=0 if match is None else match.votes,
        inference_ms=recognition.inference_ms, search_ms=recognition.search_ms)


def latencies_ms(queries: Sequence[QueryResult]) -> FloatArray:
    """Return the time of each query from decoded image to answer, in milliseconds, ``(Q,)``."""
    return np.array([query.inference_ms + query.search_ms for query in queries], np.float64)


def source_to_values(source: ImageSource) -> dict[str, Any]:
    """
    Return all that :func:`source_from_values` needs to open a source in another process.

    :raises VprError: if the source is of a kind that only this process knows
    """
    if type(source) is BagSource:
        names: tuple[str, ...] = ('path', 'topic', 'pose_topic', 'utm_zone')
    elif type(source) in (FolderSource, ImageList):
        names = ('path', 'kind', 'rate_hz', 'note', 'images')
    else:
        raise VprError(f'cannot hand {source.describe()} to a process of its own')
    return {name: getattr(source, name) for name in names}


def source_from_values(values: Mapping[str, Any]) -> ImageSource:
    """
    Return a source that gives the same frames as the one the values were made from.

    :param values: as JSON has them
    :raises VprError: if it cannot be opened any more
    """
    fields = {**values, 'path': Path(values['path'])}
    if 'topic' in fields:
        return BagSource(**fields)
    kind = fields.pop('kind')
    fields['images'] = [_listed(**image) for image in fields['images']]
    found = ImageList(**fields)
    found.kind = kind
    return found


def _listed(
    *, file: str, pose: Mapping[str, Any] | None, box: list[int] | None, **rest: Any
) -> ListedImage:
    """Return one image of a list; JSON has no tuples."""
    bounds: Any = None if box is None else tuple(box)
    fields: Any = {name: tuple(value) if isinstance(value, list) else value
                   for name, value in (pose or {}).items()}
    return ListedImage(
        file=Path(file), box=bounds, pose=Pose(**fields) if fields else None, **rest)
