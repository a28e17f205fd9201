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

"""The answers of the node, which of them are right, and what is said of them to people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources.answer_log import ACCEPTED
from vpr_compressed.sources.answer_log import read_images
from vpr_compressed.sources.answer_log import UNANSWERED
from vpr_compressed.system.terminal import human_bytes

BoolArray = NDArray[np.bool_]

#: The demo has to reach these with the made-up town.
MIN_PRECISION = 0.95
MIN_RECALL = 0.4


@dataclass(frozen=True)
class Track:
    """
    Stamps and positions of a recording.

    :param stamps_ns: of every image
    :param positions_m: float64 ``(N, 3)``; None where not every image has a pose
    """

    stamps_ns: list[int]
    positions_m: FloatArray | None

    @classmethod
    def of(cls, source: ImageSource) -> Track:
        """Read the track of a folder or bag; no image is decoded."""
        frames = [(frame.stamp_ns, frame.pose) for frame in source]
        poses = [pose.position_m for _, pose in frames if pose is not None]
        return cls([stamp for stamp, _ in frames],
                   np.array(poses, np.float64) if len(poses) == len(frames) else None)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.stamps_ns)


@dataclass(frozen=True)
class NodeAnswers:
    """
    What the node said to each query.

    :param accepted: bool ``(Q,)``
    :param best: index of the accepted, else the most similar reference image; -1 for none
    :param answered: bool ``(Q,)``, False where the node said nothing at all
    :param latency_ms: float ``(Q,)``, from publishing to answer, NaN without an answer
    """

    accepted: BoolArray
    best: IntArray
    answered: BoolArray
    latency_ms: FloatArray

    def latency_percentile_ms(self, percent: float) -> float:
        """Return a percentile of the time from publishing to answer; NaN without any answer."""
        times = self.latency_ms[self.answered]
        return float(np.percentile(times, percent)) if len(times) else float('nan')


@dataclass(frozen=True)
class JudgedAnswers:
    """
    Answers held against the truth.

    :param rule: what counts as right, for people
    """

    answers: NodeAnswers
    truth: GroundTruth
    rule: str

    @property
    def known(self) -> BoolArray:
        """Return whether the map has the place of each query, bool ``(Q,)``."""
        return metrics.answerable(self.truth.positives)

    def mask(self, kind: str) -> BoolArray:
        """
        Return which queries ended in a certain way, bool ``(Q,)``.

        :param kind: ``right``, ``wrong``, ``missed`` (the map has the place, but no match was
            accepted) or ``unknown`` (the map does not have it, and no match was accepted)
        """
        accepted, known = self.answers.accepted, self.known
        right = metrics.hits(self.answers.best[:, np.newaxis], self.truth.positives)[:, 0]
        masks = {'right': accepted & right, 'wrong': accepted & ~right,
                 'missed': ~accepted & known, 'unknown': ~accepted & ~known}
        return masks[kind]

    def count(self, kind: str) -> int:
        """Return how many queries ended in a certain way, see :meth:`mask`."""
        return int(self.mask(kind).sum())

    @property
    def matches(self) -> metrics.AcceptedMatches:
        """Return precision and recall of the accepted matches."""
        return metrics.accepted_matches(
            [best if accepted else None for accepted, best in
             zip(self.answers.accepted.tolist(), self.answers.best.tolist())],
            self.truth.positives)

    @property
    def recall_at_1(self) -> float:
        """Return the share of the known places whose most similar candidate is right."""
        return metrics.recall_at(
            self.answers.best[:, np.newaxis], self.truth.positives, (1,))[1]

    def failures(self) -> list[str]:
        """Return in words which of the demo's own criteria do not hold."""
        problems, matches = [], self.matches
        unanswered = int((~self.answers.answered).sum())
        if unanswered:
            problems.append(f'{unanswered} images got no answer')
        if matches.precision is not None and matches.precision < MIN_PRECISION:
            problems.append(
                f'precision {matches.precision:.3f} of the accepted matches is below '
                f'{MIN_PRECISION}')
        if matches.recall < MIN_RECALL:
            problems.append(
                f'only {matches.recall:.0%} of the known places were recognised, '
                f'{MIN_RECALL:.0%} are wanted')
        return problems


def read_answers(path: Path, reference: Track, query: Track) -> NodeAnswers:
    """
    Read what the player has recorded.

    :param path: one line per published image, in any order
    :param reference: recording the map was made from; matches name its images by their stamp
    :param query: recording that was played
    :raises SourceError: the file is missing, malformed, or from another recording
    """
    played = {image.stamp_ns: image for image in read_images(path)}
    missing = sum(stamp not in played for stamp in query.stamps_ns)
    if missing:
        raise SourceError(
            f'{path} has no line for {missing} of {len(query)} images; was the player stopped '
            'early? Run the demo again')
    index = {stamp: number for number, stamp in enumerate(reference.stamps_ns)}
    images = [played[stamp] for stamp in query.stamps_ns]
    stamps = [
        int(image.best['stamp_sec']) * 1_000_000_000 + int(image.best['stamp_nanosec'])
        if image.best else None for image in images]
    return NodeAnswers(
        accepted=np.array([image.status == ACCEPTED for image in images]),
        best=np.array([
            -1 if stamp is None else index.get(stamp, -1) for stamp in stamps], np.int64),
        answered=np.array([image.status != UNANSWERED for image in images]),
        latency_ms=np.array([image.latency_ms for image in images], np.float64))


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """
    What came out of a run.

    :param judged: the answers held against the truth; None where nobody knows it
    :param places: number of places in the map
    :param node_bytes: resident memory of the node at the end
    """

    reference: Track
    query: Track
    answers: NodeAnswers
    judged: JudgedAnswers | None
    places: int
    model_bytes: int
    map_bytes: int
    node_bytes: int

    def headline(self) -> str:
        """Return the result in one line."""
        if self.judged is None:
            return f'{int(self.answers.accepted.sum())} of {len(self.query)} images matched'
        count, known = self.judged.count, int(self.judged.known.sum())
        return (f'{count("right")} of {known} known places recognised, {count("wrong")} wrong, '
                f'{count("unknown")} of {len(self.query) - known} unknown ones withheld')

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of a table: what, and how much of it."""
        p50, p95 = (self.answers.latency_percentile_ms(level) for level in (50, 95))
        return [
            ('images', f'{len(self.reference)} mapped into {self.places} places, '
             f'{len(self.query)} looked up'),
            ('matches accepted', str(int(self.answers.accepted.sum()))), *self._verdict(),
            ('latency', f'p50 {p50:.0f} ms, p95 {p95:.0f} ms, from publishing an image to its '
             'answer'),
            ('model', human_bytes(self.model_bytes)), ('map file', human_bytes(self.map_bytes)),
            ('node memory', f'{human_bytes(self.node_bytes)} resident, ROS 2 included')]

    def _verdict(self) -> list[tuple[str, str]]:
        """Return the lines that need a truth."""
        if self.judged is None:
            return []
        count, known = self.judged.count, int(self.judged.known.sum())
        matches = self.judged.matches
        return [
            ('  right', f'{count("right")}  ({self.judged.rule})'),
            ('  wrong', str(count('wrong'))),
            ('withheld', f'{count("missed")} of {known} places in the map'),
            ('withheld, unknown', f'{count("unknown")} of {len(self.query) - known} places the '
             'map does not have'),
            ('precision', 'none' if matches.precision is None else f'{matches.precision:.1%}'),
            ('recall', f'{matches.recall:.1%}'),
            ('recall@1', f'{self.judged.recall_at_1:.1%} before agreement over time')]
