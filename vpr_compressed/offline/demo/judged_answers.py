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

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.records import Status
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources.answer_log import read_images
from vpr_compressed.system.terminal import human_bytes

BoolArray = NDArray[np.bool_]

#: The demo has to reach these with the made-up town.
MIN_PRECISION = 0.95
MIN_RECALL = 0.5


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

    :param statuses: whether the believed place was accepted, or why it was withheld; None where
        the node said nothing at all
    :param best: index of the believed reference image, accepted or not; -1 for none, ``(Q,)``
    :param latency_ms: float ``(Q,)``, from publishing to answer, NaN without an answer
    """

    statuses: tuple[Status | None, ...]
    best: IntArray
    latency_ms: FloatArray

    @property
    def accepted(self) -> BoolArray:
        """Return which answers were accepted, bool ``(Q,)``."""
        return self.which(Status.ACCEPTED)

    @property
    def answered(self) -> BoolArray:
        """Return which queries were answered at all, bool ``(Q,)``."""
        return ~self.which(None)

    def which(self, status: Status | None) -> BoolArray:
        """Return which queries ended with a status, None for no answer, bool ``(Q,)``."""
        return np.array([found is status for found in self.statuses], np.bool_)

    def reasons(self, withheld: BoolArray) -> str:
        """Return why some queries were withheld, the commonest reason first; '' for none."""
        counts = Counter(reason_of(status) for status, chosen in zip(
            self.statuses, withheld.tolist()) if chosen)
        return ', '.join(f'{count} {words}' for words, count in counts.most_common())

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

        :param kind: ``right``, ``wrong``, ``missed`` (the map has the place, and it was withheld)
            or ``unknown`` (the map does not have it, and none was accepted)
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
        """Return the share of the known places where the believed one is right."""
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
        statuses=tuple(None if image.rows is None else image.decision for image in images),
        best=np.array([
            -1 if stamp is None else index.get(stamp, -1) for stamp in stamps], np.int64),
        latency_ms=np.array([image.latency_ms for image in images], np.float64))


def reason_of(status: Status | None) -> str:
    """Return in words why a place was withheld, None for no answer."""
    return 'no answer' if status is None else status.words


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
            withheld = ~self.answers.accepted
            return [('withheld', _with_reasons(
                str(int(withheld.sum())), self.answers.reasons(withheld)))]
        count, known = self.judged.count, int(self.judged.known.sum())
        matches = self.judged.matches
        return [
            ('  right', f'{count("right")}  ({self.judged.rule})'),
            ('  wrong', str(count('wrong'))),
            ('withheld', self._withheld('missed', f'{known} places in the map')),
            ('withheld, unknown', self._withheld(
                'unknown', f'{len(self.query) - known} places the map does not have')),
            ('precision', 'none' if matches.precision is None else f'{matches.precision:.1%}'),
            ('recall', f'{matches.recall:.1%}'),
            ('recall@1', f'{self.judged.recall_at_1:.1%}, accepted or withheld')]

    def _withheld(self, kind: str, whole: str) -> str:
        """Return how many of what were withheld, and why."""
        which = np.zeros(0, np.bool_) if self.judged is None else self.judged.mask(kind)
        return _with_reasons(f'{int(which.sum())} of {whole}', self.answers.reasons(which))


def _with_reasons(text: str, reasons: str) -> str:
    """Return a text with the reasons behind it, if there are any."""
    return f'{text}: {reasons}' if reasons else text
