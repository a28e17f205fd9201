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
Measure a model on recordings: map the first, recognise the second as it was walked or otherwise.

All images go through :meth:`Recognizer.process`, the method the ROS node calls for each image, so
what is measured here is what runs on the robot.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from vpr_compressed.config import config_from_mapping
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.offline.measuring.content_cache import DescribedImages
from vpr_compressed.offline.measuring.described_walk import DescribedFrame
from vpr_compressed.offline.measuring.described_walk import DescribedWalk
from vpr_compressed.offline.measuring.described_walk import RecallingExtractor
from vpr_compressed.offline.measuring.described_walk import Walker
from vpr_compressed.offline.measuring.recognition_run import ColdStart
from vpr_compressed.offline.measuring.recognition_run import query_result
from vpr_compressed.offline.measuring.recognition_run import QueryResult
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.measuring.recognition_run import UnknownWalk
from vpr_compressed.offline.measuring.replay import Replay
from vpr_compressed.offline.measuring.replay import Shown
from vpr_compressed.offline.measuring.source_values import source_from_values
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.records import Candidate
from vpr_compressed.records import Recognition
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import ImageSource
from vpr_compressed.system import memory
from vpr_compressed.system.processes import Progress
from vpr_compressed.system.processes import silent

#: Rankings are complete up to this many similarities in all, so that memory stays bounded.
MAX_SIMILARITIES = 4_000_000
MIN_DEPTH = 100
#: Images after which a cold start without a match is given up.
START_LIMIT = 100


class Session:
    """
    A recogniser with a map of its own in memory, of which every image becomes a place.

    :param total: images of all recordings, for ``progress``
    """

    def __init__(
        self, extractor: Extractor, trial: Trial, known: DescribedImages | None,
        progress: Progress, *, total: int
    ) -> None:
        self._trial, self._known = trial, known
        self._calibration = extractor.calibration
        self.place_map = PlaceMap.create(
            None, descriptor_id=extractor.descriptor_id, dimension=extractor.dimension,
            model_name=extractor.model_name)
        recalling: Any = RecallingExtractor(extractor)
        # The node's configuration, except that mapping leaves no image out.
        self.recognizer = Recognizer(recalling, self.place_map, replace(
            trial.recognizer, keyframe_min_interval_s=0.0, keyframe_min_distance_m=0.0,
            keyframe_max_similarity=1.0), trial.decision)
        self.walker = Walker(self.recognizer, recalling, known, progress, total=total)
        #: Id of a keyframe -> its row in the reference.
        self.row_of: dict[int, int] = {}

    def remember(self, source: ImageSource, left_out: frozenset[int]) -> list[str]:
        """Map a recording without some of its images; return the names of all."""
        names = []
        self.recognizer.mapping, self.recognizer.localization = True, False
        for frame, recognition in self.walker.through(source, without=left_out):
            if recognition is not None and recognition.added is not None:
                self.row_of[recognition.added.keyframe_id] = frame.index
            names.append(frame.name)
        return names

    def ranked(self, found: Sequence[Candidate], depth: int) -> tuple[IntArray, FloatArray]:
        """Return rows and similarities of a search, -1 and NaN where it found too few."""
        missing = depth - len(found)
        rows = [self.row_of[each.keyframe.keyframe_id] for each in found] + [-1] * missing
        similarities = [each.similarity for each in found] + [np.nan] * missing
        return np.array(rows, np.int64), np.array(similarities, np.float64)

    def again(
        self, walk: DescribedWalk, shown: Sequence[Shown]
    ) -> Iterator[tuple[DescribedFrame, Recognition]]:
        """Yield the images of a replay with what came out."""
        return self.walker.again(walk, shown, odometry=self._trial.odometry)

    def localized(self, walk: DescribedWalk, shown: Sequence[Shown]) -> list[QueryResult]:
        """Recognise the images of a replay in the finished map."""
        self.recognizer.mapping, self.recognizer.localization = False, True
        return [
            query_result(recognition, self.row_of, index=frame.index, name=frame.name,
                         inference_ms=frame.inference_ms)
            for frame, recognition in self.again(walk, shown)]

    def cold_start(self, walk: DescribedWalk, shown: Sequence[Shown], start: int) -> ColdStart:
        """Switch the robot on in the middle of a replay and wait for its first match."""
        rest = [replace(each, cold=number == 0) for number, each in enumerate(
            shown[start:start + START_LIMIT])]
        for number, (_, recognition) in enumerate(self.again(walk, rest), start=1):
            if recognition.match is not None:
                row = self.row_of[recognition.match.keyframe.keyframe_id]
                return ColdStart(start=start, images=number, match_row=row)
        return ColdStart(start=start, images=None, match_row=None)

    def thresholds(self) -> dict[str, float]:
        """Return the confidence that a match needs, by the name of its curve."""
        wanted, found = self._trial.decision.min_precision, self._calibration
        return {'walk': found.walk.threshold(wanted), 'single': found.single.threshold(wanted)}

    def promises(self) -> dict[str, dict[str, float]]:
        """Return the confidence that other precisions would need, by the name of the curve."""
        return {
            name: {f'{wanted:g}': curve.threshold(wanted) for wanted in curve.precisions}
            for name, curve in (
                ('walk', self._calibration.walk), ('single', self._calibration.single))}

    def close(self) -> None:
        """Forget the map; keep what was described for the next run."""
        self.place_map.close()
        if self._known is not None:
            self._known.save()


def run(
    recordings: Sequence[Mapping[str, Any]], extractor: Extractor, trial: Mapping[str, Any], *,
    progress: Progress, known: DescribedImages | None
) -> RecognitionRun:
    """
    Do with recordings what a trial says.

    :param recordings: reference, query and unknown ones, one alone for revisits; as
        :func:`.source_to_values` gives them
    :param trial: the fields of a :class:`.Trial`
    :raises VprError: as :func:`measure` and :func:`measure_revisits`
    """
    sources, wanted = list(map(source_from_values, recordings)), config_from_mapping(Trial, trial)
    if wanted.revisits:
        return measure_revisits(
            sources[0], extractor, trial=wanted, progress=progress, known=known)
    reference, query, *unknown = sources
    return measure(reference, query, extractor, trial=wanted, unknown=unknown, progress=progress,
                   known=known)


def measure(
    reference: ImageSource, query: ImageSource, extractor: Extractor, *,
    trial: Trial | None = None, unknown: Sequence[ImageSource] = (), progress: Progress = silent,
    known: DescribedImages | None = None
) -> RecognitionRun:
    """
    Map the reference in memory, every image one place, then recognise the query.

    Every image is described once; the walks are then replayed with these descriptors.

    :param trial: how the query and the unknown walks are walked, and what is left out of the map
    :param unknown: recordings of places that are not in the reference, each from a cold start
    :param progress: called after each image with those done and in all
    :param known: descriptors of an earlier run, used instead of the network, and kept for the
        next; the recogniser runs on all images in any case
    :raises SourceError: a source ends early
    :raises ImageFormatError: an image cannot be decoded
    :raises ConfigError: nothing is left of the reference
    """
    trial, total = trial or Trial(), len(reference) + len(query) + sum(map(len, unknown))
    replay = trial.replay
    left_out = replay.left_out(len(reference))
    with closing(Session(extractor, trial, known, progress, total=total)) as session, \
            closing(DescribedWalk()) as walk:
        names = session.remember(reference, left_out)
        depth = depth_for(len(session.place_map), max(len(query), replay.count(len(query))))
        rankings = [
            session.ranked(session.place_map.search(descriptor, depth), depth)
            for descriptor in session.walker.described(query, walk)]
        shown = replay.of([frame.stamp_ns for frame in walk.frames])
        queries = session.localized(walk, shown)
        resident_bytes = memory.resident_bytes()
        starts = [session.cold_start(walk, shown, start) for start in replay.starts(len(shown))]
        return RecognitionRun(
            queries=tuple(queries),
            rows=np.stack([rankings[each.index][0] for each in shown]),
            similarities=np.stack([rankings[each.index][1] for each in shown]),
            reference_names=tuple(names), places=len(session.place_map),
            reference_sha256=session.walker.digests[0], query_sha256=session.walker.digests[1],
            bytes_per_place=float(session.place_map.bytes_per_place),
            resident_bytes=resident_bytes, thresholds=session.thresholds(),
            promises=session.promises(),
            cold_starts=tuple(starts),
            unknown=tuple(_unknown_walk(session, source, replay) for source in unknown),
            recalled=session.walker.recalled)


def measure_revisits(
    recording: ImageSource, extractor: Extractor, *, trial: Trial | None = None,
    progress: Progress = silent, known: DescribedImages | None = None
) -> RecognitionRun:
    """
    Map one recording and recognise it in its own past, as the node does in mode ``slam``.

    Rows count the images in the order in which they were shown: each becomes a place.

    :param trial: how it is walked, and how much of the recent past is not searched
    :raises SourceError: the source ends early
    :raises ImageFormatError: an image cannot be decoded
    """
    trial = trial or Trial(revisits=True)
    session = Session(extractor, trial, known, progress, total=len(recording))
    with closing(session), closing(DescribedWalk()) as walk:
        for _ in session.walker.described(recording, walk):
            pass
        shown = trial.replay.of([frame.stamp_ns for frame in walk.frames])
        depth, queries, rankings = depth_for(len(shown), len(shown)), [], []
        session.recognizer.mapping = session.recognizer.localization = True
        for number, (frame, recognition) in enumerate(session.again(walk, shown)):
            if recognition.added is not None:
                session.row_of[recognition.added.keyframe_id] = number
            queries.append(query_result(
                recognition, session.row_of, index=frame.index, name=frame.name,
                inference_ms=frame.inference_ms))
            since_ns = recognition.stamp_ns - round(
                trial.recognizer.exclude_recent_s * 1e9)
            rankings.append(session.ranked(session.place_map.search(
                recognition.descriptor, depth, exclude_since_ns=since_ns), depth))
        rows, similarities = map(np.stack, zip(*rankings))
        return RecognitionRun(
            queries=tuple(queries), rows=rows, similarities=similarities,
            reference_names=tuple(query.name for query in queries),
            places=len(session.place_map), reference_sha256=session.walker.digests[0],
            query_sha256=session.walker.digests[0],
            bytes_per_place=float(session.place_map.bytes_per_place),
            resident_bytes=memory.resident_bytes(), thresholds=session.thresholds(),
            promises=session.promises(),
            recalled=session.walker.recalled)


def depth_for(places: int, queries: int) -> int:
    """Return how many places are ranked for each query."""
    return min(places, max(MIN_DEPTH, MAX_SIMILARITIES // max(1, queries)))


def _unknown_walk(session: Session, source: ImageSource, replay: Replay) -> UnknownWalk:
    """Walk through places that are not in the map."""
    with closing(DescribedWalk()) as walk:
        for _ in session.walker.described(source, walk):
            pass
        shown = replay.of([frame.stamp_ns for frame in walk.frames])
        return UnknownWalk(
            source=source.describe(), queries=tuple(session.localized(walk, shown)))
