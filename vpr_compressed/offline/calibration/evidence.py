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
Walk through a map with the code that runs on the robot, and note what each decision was worth.

Descriptors are known beforehand; :meth:`Recognizer.process` does the rest as for live images.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.offline.measuring.described_walk import NO_IMAGE
from vpr_compressed.offline.measuring.described_walk import RecallingExtractor
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Recognition

#: What a row of the map is for an image.
RIGHT, WRONG, UNCLEAR = 1, 0, -1
_NS_PER_S = 1_000_000_000
#: Called after each image of a walk.
Tick = Callable[[], object]


@dataclass(frozen=True)
class Route:
    """
    Images in the order in which they were taken.

    :param descriptors: float32 ``(N, D)``, unit norm
    :param stamps_ns: time of each in nanoseconds, never falling
    """

    descriptors: DescriptorArray
    stamps_ns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.stamps_ns)


@dataclass(frozen=True, kw_only=True)
class LabelledWalk:
    """
    A walk and what is right on it.

    :param group: kind of place; every group counts alike
    :param mapped: sessions of the map; none: the walk is recognised in its own past
    :param asked: the walk itself, from a cold start
    :param labels: int8 ``(Q, R)``: whether a row of the map is RIGHT, WRONG or UNCLEAR (neither)
        for an image; the rows of all sessions in their order, or the images of the walk itself
    :param counted: images that are judged, bool ``(Q,)``; the others only lead there
    :param left_out: images of a walk in its own past that do not become places
    :param doubtful: the labels are guesses: an unclear answer counts as wrong for the thresholds
    """

    name: str
    group: str
    mapped: tuple[Route, ...]
    asked: Route
    labels: NDArray[np.int8]
    counted: NDArray[np.bool_]
    left_out: frozenset[int] = frozenset()
    doubtful: bool = False


@dataclass(frozen=True, kw_only=True)
class Judged:
    """
    What the decision said to the images of one walk.

    :param evidence: of each image, empty where the decision had none
    :param bases: name of the curve that each decision used, '' where it had no place
    :param rows: the believed place, -1 for none, int64 ``(Q,)``
    :param confidences: of the decision with the curve it was made with, ``(Q,)``
    :param labels: RIGHT, WRONG or UNCLEAR of the believed place, int8 ``(Q,)``
    :param answerable: whether the map has a right row, bool ``(Q,)``
    :param unknown: whether every row of the map is wrong, bool ``(Q,)``
    """

    walk: LabelledWalk
    evidence: tuple[Mapping[str, float], ...]
    bases: tuple[str, ...]
    rows: NDArray[np.int64]
    confidences: NDArray[np.float64]
    labels: NDArray[np.int8]
    answerable: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


def observe(
    walks: Sequence[LabelledWalk], describer: ImageDescriber, *, tick: Tick = lambda: None
) -> Iterator[Judged]:
    """
    Yield what the decision says on each walk; walks that share a map and follow share its making.

    :param describer: says which model the descriptors are of; is not asked for any
    :param tick: called after each image
    """
    for _, sharing in groupby(walks, key=lambda walk: id(walk.mapped or walk)):
        same = list(sharing)
        with PlaceMap.create(None, descriptor_id=describer.descriptor_id,
                             dimension=describer.dimension) as place_map:
            walker = _Walker(describer, place_map, tick)
            walker.fill(same[0].mapped)
            yield from map(walker.through, same)


def recent_ns() -> int:
    """Return for how long an image of a walk is not searched by the walk itself."""
    return round(RecognizerConfig().exclude_recent_s * _NS_PER_S)


def in_own_past(
    labels: NDArray[np.int8], stamps_ns: Sequence[int], left_out: frozenset[int] = frozenset()
) -> NDArray[np.int8]:
    """
    Return the labels of a walk in its own past: what cannot be answered is never right.

    :param labels: int8 ``(Q, Q)``, as if the whole walk were mapped
    :param left_out: images that do not become places
    """
    stamps = np.asarray(stamps_ns, np.int64)
    searched = stamps[np.newaxis, :] < stamps[:, np.newaxis] - recent_ns()
    searched[:, sorted(left_out)] = False
    return np.where(searched, labels, np.int8(WRONG)).astype(np.int8)


class _Walker:
    """A recogniser and the rows of its map."""

    def __init__(self, describer: ImageDescriber, place_map: PlaceMap, tick: Tick) -> None:
        recalling: Any = RecallingExtractor(describer)
        self._extractor, self._tick = recalling, tick
        self._recognizer = Recognizer(recalling, place_map)
        self._row_of: dict[int, int] = {}

    def fill(self, sessions: Sequence[Route]) -> None:
        """Map every image of some sessions."""
        self._recognizer.localization, self._recognizer.mapping = False, True
        for route in sessions:
            self._recognizer.reset()
            for number in range(len(route)):
                self._map(self._process(route, number), len(self._row_of))

    def through(self, walk: LabelledWalk) -> Judged:
        """Return what is decided on a walk from a cold start."""
        self._recognizer.reset()
        self._recognizer.localization = True
        evidence: list[Mapping[str, float]] = []
        bases: list[str] = []
        rows = np.full(len(walk.asked), -1, np.int64)
        confidences = np.zeros(len(walk.asked))
        for number in range(len(walk.asked)):
            self._recognizer.mapping = not walk.mapped and number not in walk.left_out
            recognition = self._process(walk.asked, number)
            decision = recognition.decision
            if decision is not None and decision.keyframe is not None:
                rows[number] = self._row_of[decision.keyframe.keyframe_id]
                confidences[number] = decision.confidence
            believed = decision is not None and rows[number] >= 0
            evidence.append(decision.evidence if decision and believed else {})
            bases.append(decision.basis if decision and believed else '')
            self._map(recognition, number)
            self._tick()
        labels = np.where(
            rows < 0, np.int8(UNCLEAR), walk.labels[np.arange(len(rows)), np.maximum(rows, 0)])
        labels = np.where(walk.counted, labels, np.int8(UNCLEAR)).astype(np.int8)
        return Judged(
            walk=walk, evidence=tuple(evidence), bases=tuple(bases), rows=rows,
            confidences=confidences, labels=labels,
            answerable=walk.counted & (walk.labels == RIGHT).any(axis=1),
            unknown=walk.counted & (walk.labels == WRONG).all(axis=1))

    def _process(self, route: Route, number: int) -> Recognition:
        """Return what the recogniser makes of one image."""
        self._extractor.known = route.descriptors[number]
        return self._recognizer.process(NO_IMAGE, stamp_ns=route.stamps_ns[number])

    def _map(self, recognition: Recognition, row: int) -> None:
        """Remember which row a new place is."""
        if recognition.added is not None:
            self._row_of[recognition.added.keyframe_id] = row
