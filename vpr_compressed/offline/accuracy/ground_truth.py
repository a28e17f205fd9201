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

"""Which reference images show the place of a query: by index, by position, or from a file."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.sources import ImageSource


@dataclass(frozen=True)
class GroundTruth:
    """
    The right answers of one evaluation.

    :param positives: for each query the reference indices that show its place; an empty set
        means that the reference never was there, and "I do not know" is the right answer
    :param references: number of reference images
    :param description: how the answers were made, for the report
    :param junk: for each query the reference indices that are neither right nor wrong (the
        ``junk`` lists of Oxford5k: too little of the place is seen); empty for none at all
    :param may_be_empty: whether it makes sense that no query has a right answer
    """

    positives: tuple[frozenset[int], ...]
    references: int
    description: str
    junk: tuple[frozenset[int], ...] = ()
    may_be_empty: bool = False

    def __post_init__(self) -> None:
        if self.junk and len(self.junk) != len(self.positives):
            raise GroundTruthError(
                f'{len(self.positives)} queries have right answers listed and {len(self.junk)} '
                'have junk; give one list of each for every query')
        both = [query for query, rows in enumerate(self.junk) if rows & self.positives[query]]
        if both:
            raise GroundTruthError(
                f'query {both[0]} has the same reference among its right answers and its junk; '
                'an image is one or the other')
        if not self.may_be_empty and not any(self.positives):
            raise GroundTruthError(
                f'none of the {len(self.positives)} queries has a right answer '
                f'({self.description}), nothing can be measured; check that reference and query '
                'show the same places and are not swapped')
        for rows in (*self.positives, *self.junk):
            if rows and not 0 <= min(rows) <= max(rows) < self.references:
                wrong = min(rows) if min(rows) < 0 else max(rows)
                raise GroundTruthError(
                    f'the ground truth names reference {wrong}, there are {self.references}; '
                    'it belongs to other images')

    def replayed(
        self, order: Sequence[int], left_out: AbstractSet[int], note: str
    ) -> GroundTruth:
        """
        Return the right answers of queries that are asked in another order, with a smaller map.

        :param order: the query shown each time, by its index; may leave out or repeat
        :param left_out: references that are not mapped; where all right ones are among them, "I
            do not know" becomes the right answer
        :param note: what was changed, for people; '' for nothing
        :raises GroundTruthError: an index is no query, or no query has an answer any more
        """
        if order and not 0 <= min(order) <= max(order) < len(self.positives):
            raise GroundTruthError(
                f'queries {min(order)} to {max(order)} were asked, the ground truth has '
                f'{len(self.positives)}; it belongs to other images')
        return GroundTruth(
            tuple(self.positives[query] - left_out for query in order), self.references,
            f'{self.description}; {note}' if note else self.description,
            tuple(self.junk[query] - left_out for query in order) if self.junk else ())

    def of_past(
        self, order: Sequence[int], stamps_ns: Sequence[int], exclude_recent_ns: int
    ) -> GroundTruth:
        """
        Return the right answers when one recording is recognised in its own past.

        Right is an earlier image of the same place that was shown more than ``exclude_recent_ns``
        ago. Two images show the same place if either has the other among its right answers.

        :param order: the image shown each time, by its index in the recording
        :param stamps_ns: when each is shown, length of ``order``, in nanoseconds
        :returns: rows are places in ``order``; perhaps no image has a right answer
        """
        same = [set(rows) for rows in self.positives]
        for image, rows in enumerate(self.positives):
            for row in rows:
                same[row].add(image)
        before: dict[int, list[int]] = {}
        positives = []
        for number, (image, stamp_ns) in enumerate(zip(order, stamps_ns)):
            positives.append(frozenset(
                place for other in same[image] for place in before.get(other, ())
                if stamps_ns[place] < stamp_ns - exclude_recent_ns))
            before.setdefault(image, []).append(number)
        return GroundTruth(
            tuple(positives), len(order),
            f'{self.description}, seen more than {exclude_recent_ns / 1e9:g} s before',
            may_be_empty=True)

    @property
    def answerable(self) -> int:
        """Number of queries that have a right answer."""
        return sum(bool(rows) for rows in self.positives)

    def matrix(self) -> NDArray[np.bool_]:
        """Return whether reference is right for query, bool ``(Q, R)``."""
        right = np.zeros((len(self.positives), self.references), np.bool_)
        for query, rows in enumerate(self.positives):
            right[query, list(rows)] = True
        return right


def from_tolerance(queries: int, references: int, tolerance_frames: int) -> GroundTruth:
    """
    Count a reference as right when its index is near the query's index.

    Only for walks of the same route whose images were aligned one to one.

    :param tolerance_frames: largest difference of the two indices, >= 0
    :raises GroundTruthError: negative tolerance, or no query has an answer
    """
    return GroundTruth(
        tuple(frozenset(_near(query, references, tolerance_frames)) for query in range(queries)),
        references, f'same index within {tolerance_frames} frames')


def from_positions(
    queries: NDArray[np.float64], references: NDArray[np.float64], radius_m: float
) -> GroundTruth:
    """
    Count a reference as right when it was taken near the query.

    :param queries: positions in metres, ``(Q, 3)``, all finite, same frame as the references
    :param references: positions in metres, ``(R, 3)``
    :param radius_m: largest straight distance in metres, > 0
    :raises GroundTruthError: radius not positive, or no query has an answer
    """
    if not radius_m > 0:
        raise GroundTruthError(f'the radius is {radius_m} m; give a positive number of metres')
    # Only a strip of the map is measured: all of Pittsburgh would take a minute.
    order = np.argsort(references[:, 0])
    sorted_m = references[order]
    # A millimetre more, as the difference of large coordinates is rounded.
    first, last = (
        np.searchsorted(sorted_m[:, 0], queries[:, 0] + sign * (radius_m + 1e-3))
        for sign in (-1, 1))
    positives = []
    for position, start, stop in zip(queries, first, last):
        near = np.linalg.norm(sorted_m[start:stop] - position, axis=1) <= radius_m
        positives.append(frozenset(order[start:stop][near].tolist()))
    return GroundTruth(tuple(positives), len(references), f'within {radius_m:g} m')


def positions_of(source: ImageSource) -> NDArray[np.float64]:
    """
    Return where the images of a source were taken, in metres, ``(N, 3)``; decodes none.

    :raises GroundTruthError: if an image has no pose
    """
    poses = [frame.pose for frame in source]
    missing = sum(pose is None for pose in poses)
    if missing:
        remedy = (
            'give its pose topic, or cut it to the part with poses' if source.kind == 'bag' else
            'put a poses.csv with the columns name, x_m and y_m into the folder')
        raise GroundTruthError(
            f'{missing} of {len(poses)} images of {source.path} have no pose, a radius needs one '
            f'for each; {remedy}')
    return np.array([pose.position_m for pose in poses if pose is not None], np.float64)


def from_file(
    path: Path, queries: int, references: int, *, tolerance_frames: int = 0,
    may_be_empty: bool = False
) -> GroundTruth:
    """
    Read a JSON file that maps query index to a list of reference indices.

    Indices count the images in natural name order (folder) or in the order of recording
    (bag), from 0. Queries that the file leaves out have no right answer. Nothing is guessed: an
    index below 0 does not count from the end, and no query may stand there twice.

    :raises GroundTruthError: not readable, not of that form, or not of these images
    """
    try:
        values = json.loads(path.read_text(encoding='utf-8'), object_pairs_hook=_distinct)
    except OSError as error:
        raise GroundTruthError(f'cannot read ground truth {path}: {error.strerror}') from error
    except ValueError as error:
        raise GroundTruthError(f'ground truth {path} is not JSON: {error}') from error
    if not isinstance(values, dict) or not values:
        raise GroundTruthError(
            f'ground truth {path} must be one object that maps query index to reference indices, '
            'as in {"0": [0, 1], "1": [1, 2]}')
    positives: dict[int, frozenset[int]] = {}
    for key, rows in values.items():
        query = int(key) if key.isdecimal() else queries
        if query >= queries or query in positives:
            fault = 'a second time' if query in positives else (
                f'there are the queries 0 to {queries - 1}')
            raise GroundTruthError(
                f'ground truth {path} does not fit the images: it has the query {key!r}, {fault}')
        if not isinstance(rows, list) or not all(
                type(row) is int and 0 <= row < references for row in rows):
            raise GroundTruthError(
                f'ground truth {path}: query {key!r} has {rows!r}, needed is a list of indices '
                f'from 0 to {references - 1}; it may belong to other images')
        positives[query] = frozenset(
            near for row in rows for near in _near(row, references, tolerance_frames))
    more = f' within {tolerance_frames} frames' if tolerance_frames else ''
    return GroundTruth(
        tuple(positives.get(query, frozenset()) for query in range(queries)), references,
        f'file {path.name}{more}', may_be_empty=may_be_empty)


def _near(row: int, references: int, tolerance_frames: int) -> range:
    """Return the rows so near another one, or raise GroundTruthError."""
    if tolerance_frames < 0:
        raise GroundTruthError(
            f'the tolerance is {tolerance_frames} frames; give 0 or a positive number')
    return range(max(0, row - tolerance_frames), min(references, row + tolerance_frames + 1))


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of a JSON file, or raise ValueError for a key that stands there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f'the key {twice!r} stands there twice')
    return values
