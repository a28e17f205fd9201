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

"""What was observed while a model recognised walks, before any accuracy is computed."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from vpr_compressed.decision.words import NOTHING
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.records import Recognition
from vpr_compressed.records import Status

#: The fields of a :class:`RecognitionRun` that are arrays; the others are plain data.
ARRAYS = ('rows', 'similarities')


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """
    What one image of a walk led to; rows are indices into the reference.

    :param index: of the image in its recording; a replay may leave images out or repeat them
    :param stamp_ns: when the replay showed it, in nanoseconds
    :param status: number of a :class:`.Status`: accepted, or why it was withheld
    :param decided_row: the believed place, accepted or not; None without one
    :param decided_similarity: cosine to it; None without one
    :param confidence: calibrated probability in [0, 1] that it is right
    :param reason: the status in a sentence, for people
    :param basis: name of the curve in :class:`.DecisionCalibration` that was used, '' for none
    :param evidence: what the confidence was computed from, name -> value
    :param inference_ms: pre-processing and network
    :param search_ms: search and decision
    """

    index: int
    name: str
    stamp_ns: int
    status: int
    decided_row: int | None
    decided_similarity: float | None
    confidence: float
    reason: str
    basis: str = ''
    evidence: Mapping[str, float] = field(default_factory=dict)
    inference_ms: float
    search_ms: float

    @property
    def words(self) -> str:
        """Return the status in a few words."""
        return Status(self.status).words

    @property
    def match_row(self) -> int | None:
        """Return the accepted place, None for "I do not know"."""
        return self.decided_row if self.status == Status.ACCEPTED else None


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """
    A start with an empty memory in the middle of the walk.

    :param start: number of the image in the walk as it was replayed
    :param images: how many it took to the first accepted match, that one counted; None when
        :data:`.two_recordings.START_LIMIT` images or the rest of the walk brought none
    :param match_row: place of that match; None for none
    """

    start: int
    images: int | None
    match_row: int | None


@dataclass(frozen=True, kw_only=True)
class UnknownWalk:
    """
    A walk at places that are not in the map, from a cold start.

    :param source: what was walked through, for people
    """

    source: str
    queries: tuple[QueryResult, ...]


@dataclass(frozen=True, kw_only=True)
class RecognitionRun:
    """
    Everything that was observed.

    :param queries: the images of the walk in the order in which they were shown, length Q
    :param rows: reference indices in the order of the map's own search, ``(Q, K)``, -1 for none
    :param similarities: cosines to ``rows``, ``(Q, K)``, NaN for none
    :param reference_names: name of each reference image, length R
    :param places: how many of them the map holds
    :param reference_sha256: digest of the decoded pixels; equal from a folder and from a bag
    :param resident_bytes: memory of the whole process after the last query
    :param thresholds: confidence that the wanted precision needs, by the name of the curve in
        :class:`.DecisionCalibration`
    :param promises: confidence that other precisions would need, by the name of the curve and the
        precision in digits
    :param cold_starts: when a robot switched on in the middle of the walk knows where it is
    :param unknown: walks at places that are not in the map
    :param recalled: images that an earlier, interrupted run had described; their
        ``inference_ms`` are from then
    """

    queries: tuple[QueryResult, ...]
    rows: IntArray
    similarities: FloatArray
    reference_names: tuple[str, ...]
    places: int
    reference_sha256: str
    query_sha256: str
    bytes_per_place: float
    resident_bytes: int
    thresholds: Mapping[str, float] = field(default_factory=dict)
    promises: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cold_starts: tuple[ColdStart, ...] = ()
    unknown: tuple[UnknownWalk, ...] = ()
    recalled: int = 0

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> RecognitionRun:
        """
        Return a run from its fields as JSON has them, and its arrays.

        :raises KeyError: for a missing entry, likewise TypeError for one too many
        """
        plain = {
            'queries': _queries(values['queries']),
            'reference_names': tuple(values['reference_names']),
            'cold_starts': tuple(ColdStart(**each) for each in values['cold_starts']),
            'unknown': tuple(
                UnknownWalk(**{**each, 'queries': _queries(each['queries'])})
                for each in values['unknown'])}
        return cls(**{**values, **plain})


def query_result(
    recognition: Recognition, row_of: Mapping[int, int], *, index: int, name: str,
    inference_ms: float
) -> QueryResult:
    """
    Return the record of one image.

    :param row_of: id of a keyframe -> its row
    :param inference_ms: of the image when it was described
    """
    decision = recognition.decision or NOTHING
    keyframe = decision.keyframe
    return QueryResult(
        index=index, name=name, stamp_ns=recognition.stamp_ns, status=int(decision.status),
        decided_row=None if keyframe is None else row_of[keyframe.keyframe_id],
        decided_similarity=None if keyframe is None else float(decision.similarity),
        confidence=float(decision.confidence), reason=decision.reason, basis=decision.basis,
        evidence={key: float(value) for key, value in decision.evidence.items()},
        inference_ms=inference_ms, search_ms=recognition.search_ms)


def latencies_ms(queries: Sequence[QueryResult]) -> FloatArray:
    """Return the time of each query from decoded image to answer, in milliseconds, ``(Q,)``."""
    return np.array([query.inference_ms + query.search_ms for query in queries], np.float64)


def _queries(values: Sequence[Mapping[str, Any]]) -> tuple[QueryResult, ...]:
    """Return the records of a walk."""
    return tuple(QueryResult(**value) for value in values)
