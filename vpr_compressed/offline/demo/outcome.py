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
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import SourceError
from vpr_compressed.sources import ImageSource

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

#: The demo has to reach these with its own world.
MIN_PRECISION = 0.95
MIN_RECALL = 0.4


@dataclass(frozen=True)
class Track:
    """
    Stamps and positions of a recording.

    :param stamps_ns: int64 ``(N,)``
    :param positions_m: float64 ``(N, 2)``, x and y; None where not every image has a pose
    """

    stamps_ns: IntArray
    positions_m: FloatArray | None

    @classmethod
    def of(cls, source: ImageSource) -> Track:
        """Read the track of a folder or bag; no image is decoded."""
        frames = [(frame.stamp_ns, frame.pose) for frame in source]
        poses = [pose.position_m[:2] for _, pose in frames if pose is not None]
        return cls(np.array([stamp for stamp, _ in frames], np.int64),
                   np.array(poses) if len(poses) == len(frames) else None)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.stamps_ns)


@dataclass(frozen=True)
class Answers:
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


@dataclass(frozen=True)
class Truth:
    """
    What would be right.

    :param right: bool ``(Q,)``, whether the best candidate of each query is a right place
    :param known: bool ``(Q,)``, whether the map has a right place for it
    :param rule: how this was decided, for people
    """

    right: BoolArray
    known: BoolArray
    rule: str


@dataclass(frozen=True)
class Outcome:
    """Answers and, where it can be known, whether they are right."""

    reference: Track
    query: Track
    answers: Answers
    truth: Truth | None

    def mask(self, kind: str) -> BoolArray:
        """
        Return which queries ended in a certain way, bool ``(Q,)``.

        :param kind: ``right``, ``wrong``, ``missed`` (the map has the place, but no match was
            accepted) or ``unknown`` (the map does not have it, and no match was accepted)
        """
        if self.truth is None:
            raise ValueError('the outcome cannot be judged without a truth')
        accepted, right, known = self.answers.accepted, self.truth.right, self.truth.known
        masks = {'right': accepted & right, 'wrong': accepted & ~right,
                 'missed': ~accepted & known, 'unknown': ~accepted & ~known}
        return masks[kind]

    def count(self, kind: str) -> int:
        """Return how many queries ended in a certain way, see ``mask``."""
        return int(self.mask(kind).sum())

    @property
    def precision(self) -> float:
        """Return the share of right ones among the accepted matches; NaN if there are none."""
        accepted = int(self.answers.accepted.sum())
        return self.count('right') / accepted if accepted else float('nan')

    @property
    def recall(self) -> float:
        """Return the share of the known places that were accepted rightly; NaN if none is."""
        known = int(self.truth.known.sum()) if self.truth is not None else 0
        return self.count('right') / known if known else float('nan')

    @property
    def first_right(self) -> float:
        """Return the share of the known places whose most similar candidate is right."""
        if self.truth is None or not self.truth.known.any():
            return float('nan')
        return float(self.truth.right[self.truth.known].mean())

    def latency_ms(self, percent: float) -> float:
        """Return a percentile of the time from publishing an image to its answer."""
        times = self.answers.latency_ms[self.answers.answered]
        return float(np.percentile(times, percent)) if len(times) else float('nan')

    def failures(self) -> list[str]:
        """Return in words which of the demo's own criteria do not hold."""
        problems = []
        unanswered = int((~self.answers.answered).sum())
        if unanswered:
            problems.append(f'{unanswered} images got no answer')
        if self.answers.accepted.any() and not self.precision >= MIN_PRECISION:
            problems.append(
                f'precision {self.precision:.3f} of the accepted matches is below {MIN_PRECISION}')
        if not self.recall >= MIN_RECALL:
            problems.append(
                f'only {self.recall:.0%} of the known places were recognised, {MIN_RECALL:.0%} '
                'are wanted')
        return problems


def read_answers(path: Path, reference: Track, query: Track) -> Answers:
    """
    Read the JSON lines the player has recorded.

    :param path: one line per published image, in any order
    :param reference: recording the map was made from; matches name its images by their stamp
    :param query: recording that was played
    :raises SourceError: the file is missing, malformed, or from another recording
    """
    entries = {int(entry['stamp_ns']): entry for entry in _lines(path)}
    missing = sum(int(stamp) not in entries for stamp in query.stamps_ns)
    if missing:
        raise SourceError(
            f'{path} has no line for {missing} of {len(query)} images; was the player stopped '
            'early? Run the demo again')
    index = {int(stamp): number for number, stamp in enumerate(reference.stamps_ns)}
    ordered = [entries[int(stamp)] for stamp in query.stamps_ns]
    return Answers(
        accepted=np.array([entry['status'] == 'accepted' for entry in ordered]),
        best=np.array([_best(entry, index) for entry in ordered], np.int64),
        answered=np.array([entry['status'] != 'unanswered' for entry in ordered]),
        latency_ms=np.array([
            np.nan if entry['latency_ms'] is None else entry['latency_ms'] for entry in ordered]))


def truth_from_positions(
    reference: Track, query: Track, answers: Answers, radius_m: float
) -> Truth | None:
    """Return what is right by distance, None when a recording has no positions."""
    if reference.positions_m is None or query.positions_m is None:
        return None
    gaps = np.linalg.norm(query.positions_m[:, None] - reference.positions_m[None], axis=2)
    chosen = np.take_along_axis(gaps, np.maximum(answers.best, 0)[:, None], axis=1)[:, 0]
    return Truth(
        right=(answers.best >= 0) & (chosen <= radius_m), known=gaps.min(axis=1) <= radius_m,
        rule=f'right within {radius_m:g} m of where the image was taken')


def truth_from_frames(reference: Track, answers: Answers, tolerance: int) -> Truth:
    """Return what is right when both recordings show the same places frame by frame."""
    number = np.arange(len(answers.best))
    return Truth(
        right=(answers.best >= 0) & (np.abs(answers.best - number) <= tolerance),
        known=number < len(reference) + tolerance,
        rule=f'right within {tolerance} images')


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
    rows: Sequence[Mapping[str, Any]] = entry['rows']
    # The player repeats the row that counts by its keyframe.
    row = next((row for row in rows if row['keyframe_id'] == entry['keyframe_id']), None)
    if row is None:
        return -1
    return index.get(int(row['stamp_sec']) * 1_000_000_000 + int(row['stamp_nanosec']), -1)
