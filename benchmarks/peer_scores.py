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


"""Accuracy of the methods of :mod:`benchmarks.peers` from their descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from benchmarks.peer_features import FloatArray
from benchmarks.peer_features import unit
from benchmarks.peer_methods import MAP
from benchmarks.peer_methods import Method
from benchmarks.peer_methods import WORDS
from benchmarks.peer_words import InvertedFile
import numpy as np
from scipy.stats import binomtest

from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.accuracy.metrics import hits
from vpr_compressed.offline.accuracy.metrics import mean_average_precision
from vpr_compressed.offline.accuracy.metrics import precision_at
from vpr_compressed.offline.accuracy.metrics import recall_at
from vpr_compressed.place_map.place_map import PlaceMap

CUTOFFS = (1, 5, 10)
#: Bytes of a word of a bag: its number and its weight, four each (DBoW2 takes twelve).
_WORD_BYTES = 8
#: What our map keeps of a place besides the values of its descriptor.
_MAP_EXTRA = 8


@dataclass(frozen=True, kw_only=True)
class Scores:
    """
    How one method did on one pair of walks.

    :param recall: N -> share of queries with a right place among the first N
    :param precision: N -> share of right places among the first N
    :param mean_ap: mean average precision
    :param rounded_recall: recall@1 with the places rounded to int8 as our map does; None for
        words, which have no such form
    :param wrong: queries whose first answer is wrong
    """

    recall: dict[int, float]
    precision: dict[int, float]
    mean_ap: float
    rounded_recall: float | None
    wrong: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def score(
    method: Method, places: FloatArray, queries: FloatArray, truth: GroundTruth
) -> Scores:
    """
    Rank all places for each query and compare with the ground truth.

    :param places: descriptors ``(R, D)``
    :param queries: descriptors ``(Q, D)``
    """
    rounded = None if method.kind == WORDS else ranking(queries @ as_stored(places).T)
    if method.kind == WORDS:
        inverted = InvertedFile(places)
        found = ranking(np.stack([inverted.scores(bag) for bag in queries]))
    else:
        found = rounded if method.kind == MAP and rounded is not None else ranking(
            queries @ places.T)
    right = hits(found[:, :1], truth.positives)[:, 0]
    return Scores(
        recall=recall_at(found, truth.positives, CUTOFFS),
        precision=precision_at(found, truth.positives, CUTOFFS),
        mean_ap=mean_average_precision(found, truth.positives),
        rounded_recall=None if rounded is None else recall_at(
            rounded, truth.positives, (1,))[1],
        wrong=tuple(np.flatnonzero(~right).tolist()))


def ranking(similarities: FloatArray) -> Any:
    """Return the places of each query, best first, equal ones by number, ``(Q, R)``."""
    return np.argsort(-similarities, axis=1, kind='stable').astype(np.int64)


def as_stored(rows: FloatArray) -> FloatArray:
    """
    Return descriptors as they come back from our map: a scale each, values of one byte.

    :param rows: ``(N, D)``; zeros, which a map would refuse, stay zeros
    """
    stored = np.zeros_like(rows)
    real = np.flatnonzero(rows.any(axis=1))
    # Through a map in memory, so that it is the code a robot runs that does the rounding.
    with PlaceMap.create(None, descriptor_id='', dimension=rows.shape[1]) as site:
        ids = [site.add(rows[row], stamp_ns=row).keyframe_id for row in real.tolist()]
        if ids:
            stored[real] = site.descriptors(ids)
    return unit(stored)


def bytes_per_place(method: Method, rows: FloatArray) -> float:
    """
    Return what a map keeps for a place: the descriptor, or its words with their weights.

    :param rows: descriptors of real places, ``(N, D)``
    """
    if method.kind == MAP:
        with PlaceMap.create(None, descriptor_id='', dimension=rows.shape[1]) as site:
            return site.bytes_per_place
    if method.kind == WORDS:
        return float(_WORD_BYTES * np.count_nonzero(rows, axis=1).mean())
    return float(method.value_bytes * rows.shape[1])


def rounded_bytes(method: Method, rows: FloatArray) -> float | None:
    """Return the bytes of a place in a map like ours, None for words."""
    return None if method.kind == WORDS else float(rows.shape[1] + _MAP_EXTRA)


def compare(one: Sequence[int], other: Sequence[int]) -> tuple[int, int, float]:
    """
    Compare two methods on the same queries.

    :param one: queries the first got wrong
    :param other: queries the second got wrong
    :returns: queries only the first got right, only the second, and the probability of so
        uneven a split if both were equally good (two-sided exact McNemar test)
    """
    first, second = len({*other} - {*one}), len({*one} - {*other})
    if not first + second:
        return 0, 0, 1.0
    return first, second, float(binomtest(first, first + second).pvalue)
