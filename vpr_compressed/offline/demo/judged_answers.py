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

"""Judge the answers of the node: which accepted matches are right, which silence is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.sources import ImageSource

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
    Read the JSON lines the player has recorded.

    :param path: one line per published image, in any order
    :param reference: recording the map was made from; matches name its images by their stamp
    :param query: recording that was played
    :raises SourceError: the file is missing, malformed, or from another recording
    """
    entries = {int(entry['stamp_ns']): entry for entry in _lines(path)}
    missing = sum(stamp not in entries for stamp in query.stamps_ns)
    if missing:
        raise SourceError(
            f'{path} has no line for {missing} of {len(query)} images; was the player stopped '
            'early? Run the demo again')
    index = {stamp: number for number, stamp in enumerate(reference.stamps_ns)}
    ordered = [entries[stamp] for stamp in query.stamps_ns]
    return NodeAnswers(
        accepted=np.array([entry['status'] == 'accepted' for entry in ordered]),
        best=np.array([_best(entry, index) for entry in ordered], np.int64),
        answered=np.array([entry['status'] != 'unanswered' for entry in ordered]),
        latency_ms=np.array([
            np.nan if entry['latency_ms'] is None else entry['latency_ms'] for entry in ordered]))


def _lines(path: Path) -> list[Mapping[str, Any]]:
    """Return the objects of a JSON lines file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    except OSError as error:
        raise SourceError(f'cannot read the answers {path}: {error.strerror}') from error
    except ValueError as error:
        raise SourceError(f'the answers {path} are damaged: {error}') from error


def _best(entry: Mapping[str, Any], index: Mapping[int, int]) -> int:
    """Return which reference image the best row of an answer names, -1 for none."""
    # The player repeats the row that counts by its keyframe.
    row = next(
        (row for row in entry['rows'] if row['keyframe_id'] == entry['keyframe_id']), None)
    if row is None:
        return -1
    return index.get(int(row['stamp_sec']) * 1_000_000_000 + int(row['stamp_nanosec']), -1)
