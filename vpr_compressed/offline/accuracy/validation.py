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
Labelled image folders: recall@1 in training, all scores of a model.

Works on descriptors of image files that a callable provides, so it measures a network in
training as well as a finished model file.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.ground_truth import from_file
from vpr_compressed.records import DescriptorArray
from vpr_compressed.sources.csv_table import read_table

RECALL_AT = (1, 5, 10)
PRECISION_AT = (1, 5, 10, 30)
#: Image files, and '' or 'dark' for their lighting -> descriptors ``(N, D)``.
Describe = Callable[[tuple[Path, ...], str], DescriptorArray]


@dataclass(frozen=True)
class ValidationSet:
    """
    Queries, references and which of them belong together.

    :param right: bool ``(Q, R)``, the answers that count as correct
    :param barred: bool ``(Q, R)``, references a query may not see (itself)
    :param dark: whether the queries are darkened
    """

    name: str
    queries: tuple[Path, ...]
    references: tuple[Path, ...]
    right: NDArray[np.bool_]
    barred: NDArray[np.bool_]
    dark: bool = False

    def similarities(self, describe: Describe) -> NDArray[np.float32]:
        """Return cosines, ``(Q, R)``, -2 where barred."""
        similarity = describe(self.queries, 'dark' if self.dark else '') @ describe(
            self.references, '').T
        return np.asarray(np.where(self.barred, np.float32(-2.0), similarity), np.float32)


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """
    How well one validation set is ranked; all numbers as :mod:`.metrics` defines them.

    :param answerable: queries that have a right answer; only they count
    :param recall: N -> recall@N in [0, 1]
    :param precision: N -> precision@N in [0, 1]
    :param mean_average_precision: in [0, 1]
    """

    answerable: int
    recall: Mapping[int, float]
    precision: Mapping[int, float]
    mean_average_precision: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys of a JSON object are text."""
        return {
            'answerable': self.answerable,
            'recall': {str(n): value for n, value in self.recall.items()},
            'precision': {str(n): value for n, value in self.precision.items()},
            'map': self.mean_average_precision}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SetScores:
        """
        Read back what :meth:`to_json` gave.

        :raises KeyError: for a missing entry, likewise TypeError and ValueError for wrong ones
        """
        return cls(
            answerable=int(values['answerable']),
            recall={int(n): float(value) for n, value in values['recall'].items()},
            precision={int(n): float(value) for n, value in values['precision'].items()},
            mean_average_precision=float(values['map']))


def score(item: ValidationSet, similarity: NDArray[np.float32]) -> SetScores:
    """
    Score one set; references a query may not see are taken out of its ranking.

    :param similarity: cosines, float32 ``(Q, R)``, as :meth:`ValidationSet.similarities` gives
    :raises GroundTruthError: if no query has a right answer
    """
    order = np.argsort(-similarity, axis=1, kind='stable')
    # What is barred has -2, less than any cosine, and so is last: the other ranks have no gaps.
    rankings = np.where(np.take_along_axis(item.barred, order, axis=1), -1, order)
    rankings = rankings[:, :int((~item.barred).sum(axis=1).max(initial=0))]
    positives = [frozenset(np.flatnonzero(row).tolist()) for row in item.right & ~item.barred]
    return SetScores(
        answerable=int(metrics.answerable(positives).sum()),
        recall=metrics.recall_at(rankings, positives, RECALL_AT),
        precision=metrics.precision_at(rankings, positives, PRECISION_AT),
        mean_average_precision=metrics.mean_average_precision(rankings, positives))


def measure_recall(sets: Sequence[ValidationSet], describe: Describe) -> dict[str, float]:
    """
    Measure a network on validation sets; images shared by two sets are described once.

    :param sets: at least one
    :param describe: the network
    :returns: name of the set -> share of answerable queries whose most similar reference is right
    """
    remembered = cache(describe)
    recalls: dict[str, float] = {}
    for item in sets:
        similarity = item.similarities(remembered)
        hits = item.right[np.arange(len(similarity)), similarity.argmax(axis=1)]
        recalls[item.name] = float(hits[item.right.any(axis=1)].mean())
    return recalls


def positions_set(
    images: Sequence[Path], table: Path, *, name: str, split: str, radius_m: float
) -> ValidationSet:
    """
    Match every image against all others by position; names are ``<pano>_<heading>``.

    :param table: CSV with columns pano, x_m, y_m and split
    :param radius_m: another image at the same heading within this distance is right
    :raises GroundTruthError: if the table is missing or places no image
    """
    rows = read_table(
        table, ('pano', 'x_m', 'y_m', *(['split'] if split else [])), GroundTruthError)
    try:
        where = {row['pano']: (float(row['x_m']), float(row['y_m']))
                 for row in rows if not split or row['split'] == split}
    except ValueError as error:
        raise GroundTruthError(f'{table} has a position that is no number: {error}') from error
    chosen = tuple(path for path in images if path.stem.rpartition('_')[0] in where)
    if not chosen:
        raise GroundTruthError(f'{table} places none of the images with split {split!r}')
    places = np.array([where[path.stem.rpartition('_')[0]] for path in chosen])
    heading = np.array([path.stem.rpartition('_')[2] for path in chosen])
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    itself = np.eye(len(chosen), dtype=bool)
    right = (distance <= radius_m) & (heading[:, None] == heading[None]) & ~itself
    return ValidationSet(name, chosen, chosen, right, itself)


def walks_set(
    queries: Sequence[Path], references: Sequence[Path], ground_truth: Path, *, name: str
) -> ValidationSet:
    """
    Match one walk against another by a JSON file: query index -> reference indices.

    :raises GroundTruthError: if the file does not fit the images
    """
    right = from_file(ground_truth, len(queries), len(references)).matrix()
    return ValidationSet(name, tuple(queries), tuple(references), right, np.zeros_like(right))


def check_disjoint(sets: Sequence[ValidationSet], training: Sequence[Path]) -> None:
    """
    Refuse validation images that are trained on.

    :raises VprError: naming an image that is in both
    """
    known = set(training)
    for item in sets:
        shared = known & ({*item.queries} | {*item.references})
        if shared:
            raise VprError(
                f'validation set {item.name!r} shares {len(shared)} images with the training '
                f'data, such as {min(shared)}; choose another split')
