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
what is measured here is what runs on the robot.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
import hashlib
from typing import Any

import numpy as np

from vpr_compressed.config import config_from_mapping
from vpr_compressed.consistency import ConsistencyConfig
from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.offline.measuring.content_cache import DescribedImages
from vpr_compressed.offline.measuring.content_cache import Entry
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Recognition
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import Frame
from vpr_compressed.sources import ImageSource
from vpr_compressed.system import memory

#: Rankings are complete up to this many similarities in all, so that memory stays bounded.
MAX_SIMILARITIES = 4_000_000
MIN_DEPTH = 100
_ARRAYS = ('rows', 'similarities')
#: Called after each image with the phase (``map`` or ``query``).
Progress = Callable[[str], None]


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

    def to_entry(self) -> Entry:
        """Return all of it as arrays and plain data."""
        values = {name: value for name, value in vars(self).items() if name not in _ARRAYS}
        return Entry({name: getattr(self, name) for name in _ARRAYS},
                     {**values, 'queries': [asdict(query) for query in self.queries]})

    @classmethod
    def from_entry(cls, entry: Entry) -> RecognitionRun:
        """
        Read back what :meth:`to_entry` gave.

        :raises VprError: for unknown or missing fields of a query, likewise KeyError and
            TypeError for those of the run
        """
        fields: Any = {**entry.values, **{name: entry.arrays[name] for name in _ARRAYS}}
        fields['queries'] = tuple(
            config_from_mapping(QueryResult, query) for query in fields['queries'])
        fields['reference_names'] = tuple(fields['reference_names'])
        return cls(**fields)


def measure(
    reference: ImageSource, query: ImageSource, extractor: Extractor, *,
    consistency: ConsistencyConfig | None = None, progress: Progress | None = None,
    known: DescribedImages | None = None,
) -> RecognitionRun:
    """
    Map the reference in memory, every image one place, then recognise every query image.

    :param consistency: agreement over time, the node's defaults when None
    :param progress: called after each image
    :param known: descriptors of an earlier run, used instead of the network, and kept for the
        next; the recogniser runs on all images in any case
    :raises SourceError: a source ends early
    :raises ImageFormatError: an image cannot be decoded
    """
    place_map = PlaceMap.create(
        None, descriptor_id=extractor.descriptor_id, dimension=extractor.dimension,
        model_name=extractor.model_name)
    recalling: Any = _RecallingExtractor(extractor)
    recognizer = Recognizer(
        recalling, place_map, every_image(), consistency or ConsistencyConfig())
    try:
        builder = _Builder(
            recognizer, place_map, progress or (lambda _phase: None), recalling, known)
        builder.map_reference(reference)
        builder.run_queries(query)
        return builder.finish()
    finally:
        place_map.close()
        if known is not None:
            known.save()


def every_image() -> RecognizerConfig:
    """Return the node's configuration, except that mapping leaves no image out."""
    return RecognizerConfig(keyframe_min_interval_s=0.0, keyframe_min_distance_m=0.0)


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


class _Builder:
    """State of one measurement: which keyframe is which reference image, and the results."""

    def __init__(
        self, recognizer: Recognizer, place_map: PlaceMap, progress: Progress,
        extractor: _RecallingExtractor, known: DescribedImages | None
    ) -> None:
        self._recognizer, self._map, self._progress = recognizer, place_map, progress
        self._extractor, self._known, self._recalled = extractor, known, 0
        self._row_of: dict[int, int] = {}
        self._names: list[str] = []
        self._queries: list[QueryResult] = []
        self._rows: list[IntArray] = []
        self._similarities: list[FloatArray] = []
        self._digests = {'map': hashlib.sha256(), 'query': hashlib.sha256()}

    def map_reference(self, source: ImageSource) -> None:
        """Add every reference image to the map."""
        self._recognizer.mapping, self._recognizer.localization = True, False
        for frame in source:
            added = self._process(frame, 'map').added
            if added is not None:
                self._row_of[added.keyframe_id] = frame.index
            self._names.append(frame.name)
        _check_complete(source, len(self._names))

    def run_queries(self, source: ImageSource) -> None:
        """Recognise every query image, as a robot that was just switched on."""
        self._recognizer.reset()
        self._recognizer.mapping, self._recognizer.localization = False, True
        depth = self._depth(len(source))
        for frame in source:
            recognition = self._process(frame, 'query')
            self._rank(recognition, depth)
            self._queries.append(self._result(frame, recognition))
        _check_complete(source, len(self._queries))

    def finish(self) -> RecognitionRun:
        """Return what was observed."""
        return RecognitionRun(
            queries=tuple(self._queries), rows=np.stack(self._rows),
            similarities=np.stack(self._similarities), reference_names=tuple(self._names),
            reference_sha256=self._digests['map'].hexdigest(),
            query_sha256=self._digests['query'].hexdigest(),
            bytes_per_place=float(self._map.bytes_per_place),
            resident_bytes=memory.resident_bytes(), recalled=self._recalled)

    def _process(self, frame: Frame, phase: str) -> Recognition:
        """Send one frame through the recogniser."""
        image = frame.load(at_least=self._recognizer.input_size)
        data = f'{image.shape}'.encode() + image.tobytes()
        self._digests[phase].update(data)
        digest = hashlib.sha256(data).digest()
        found = None if self._known is None else self._known.get(digest)
        self._extractor.known = None if found is None else found[0]
        recognition = self._recognizer.process(
            image, stamp_ns=frame.stamp_ns, pose=frame.pose, name=frame.name)
        if found is not None:
            self._recalled += 1
            recognition = replace(recognition, inference_ms=found[1])
        elif self._known is not None:
            self._known.put(digest, recognition.descriptor, recognition.inference_ms)
        self._progress(phase)
        return recognition

    def _depth(self, queries: int) -> int:
        """Return how many places are ranked per query."""
        places = len(self._map)
        return min(places, max(MIN_DEPTH, MAX_SIMILARITIES // max(1, queries)))

    def _rank(self, recognition: Recognition, depth: int) -> None:
        """Keep the map's own ranking of its places, as deep as allowed."""
        found = self._map.search(recognition.descriptor, depth)
        rows = np.full(depth, -1, np.int64)
        similarities = np.full(depth, np.nan)
        rows[:len(found)] = [self._row_of[entry.keyframe.keyframe_id] for entry in found]
        similarities[:len(found)] = [entry.similarity for entry in found]
        self._rows.append(rows)
        self._similarities.append(similarities)

    def _result(self, frame: Frame, recognition: Recognition) -> QueryResult:
        """Return the record of one query."""
        match = recognition.match
        return QueryResult(
            index=frame.index, name=frame.name, stamp_ns=frame.stamp_ns,
            match_row=None if match is None else self._row_of[match.keyframe.keyframe_id],
            match_similarity=0.0 if match is None else match.similarity,
            confidence=0.0 if match is None else match.confidence,
            votes=0 if match is None else match.votes,
            inference_ms=recognition.inference_ms, search_ms=recognition.search_ms)


def _check_complete(source: ImageSource, seen: int) -> None:
    """Refuse a source that ended before its announced length: the numbers would be wrong."""
    if seen != len(source):
        raise SourceError(
            f'{source.describe()} gave only {seen} images; it is damaged or was changed while '
            'it was read')


def latencies_ms(queries: Sequence[QueryResult]) -> FloatArray:
    """Return the time of each query from decoded image to answer, in milliseconds, ``(Q,)``."""
    return np.array([query.inference_ms + query.search_ms for query in queries], np.float64)
