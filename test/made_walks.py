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

"""Walks through made-up worlds: neighbours look alike, places far apart do not."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.decision.decider import PlaceDecider
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Decision
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Pose

SECOND = 1_000_000_000
DIMENSION = 64
#: Metres from place to place.
STEP_M = 2.0
#: How far a place can be seen, in places, and the length of what all images have in common.
_SIGHT, _COMMON = 1.3, 0.8


class World:
    """
    A road of places, each with a look that changes smoothly along it.

    :param seed: another one is another road
    :param places: its length
    :param dimension: of a descriptor; in more dimensions an image says more
    """

    def __init__(self, seed: int = 1, places: int = 120, dimension: int = DIMENSION) -> None:
        self.places = places
        self._looks = np.random.default_rng([seed, 0]).standard_normal((places, dimension))

    def copy_stretch(self, start: int, to: int, length: int, *, share: float = 1.0) -> None:
        """Let a stretch of the road look like another one."""
        own, other = self._looks[to:to + length], self._looks[start:start + length]
        own[:] = share * other + np.sqrt(1.0 - share ** 2) * own

    def make_uniform(self, start: int, length: int) -> None:
        """Let a stretch of the road look the same all along."""
        self._looks[start:start + length] = self._looks[start]

    def at(
        self, positions: Iterable[float], *, visit: int = 0, light: float = 0.0,
        noise: float = 0.35
    ) -> DescriptorArray:
        """
        Return descriptors of images, ``(N, D)``, unit norm.

        :param positions: in places from the start of the road, may be broken numbers
        :param visit: another one has other noise
        :param light: length of what all images of this hour have in common
        :param noise: length of what is each image's own
        """
        where = np.fromiter(positions, np.float64)
        weights = np.exp(
            -0.5 * ((where[:, np.newaxis] - np.arange(self.places)) / _SIGHT) ** 2)
        rows = _unit(weights @ self._looks)
        size = rows.shape[1]
        rows += _COMMON * _direction(0, size) + light * _direction(visit + 1, size)
        rows += noise * _unit(np.random.default_rng([visit, 2]).standard_normal(rows.shape))
        return _unit(rows).astype(np.float32)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of length one."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def _direction(seed: int, dimension: int) -> NDArray[np.float64]:
    """Return a direction that belongs to a number."""
    return _unit(np.random.default_rng([seed, 1]).standard_normal(dimension))


def pose_at(position: float, frame_id: str = 'map') -> Pose:
    """Return the pose of a position on a straight road."""
    return Pose(position_m=(STEP_M * position, 0.0, 0.0), frame_id=frame_id)


def map_of(
    *sessions: DescriptorArray, path: Path | None = None,
    positions: Sequence[Iterable[float]] | None = None
) -> PlaceMap:
    """
    Return a map of sessions; its keyframes are numbered from 1 on.

    :param positions: of each session, where keyframes shall have poses
    """
    place_map = PlaceMap.create(
        path, descriptor_id='made', dimension=sessions[0].shape[1] if sessions else DIMENSION)
    for number, rows in enumerate(sessions):
        place_map.begin_session()
        where = [None] * len(rows) if positions is None else list(positions[number])
        for i, (row, position) in enumerate(zip(rows, where)):
            place_map.add(
                row, stamp_ns=i * SECOND, pose=None if position is None else pose_at(position))
    return place_map


def new_decider(place_map: PlaceMap, config: DecisionConfig | None = None) -> PlaceDecider:
    """Return a decider with the default curves."""
    return PlaceDecider(place_map, DecisionCalibration(), config)


def decide(
    decider: PlaceDecider | PlaceMap, rows: DescriptorArray, *, start_ns: int = 0,
    odometry: Iterable[Pose | None] | None = None
) -> list[Decision]:
    """Return the decision after each image, one a second."""
    asked = new_decider(decider) if isinstance(decider, PlaceMap) else decider
    poses = [None] * len(rows) if odometry is None else list(odometry)
    return [
        asked.update(row, stamp_ns=start_ns + i * SECOND, top_k=5, odometry=pose).decision
        for i, (row, pose) in enumerate(zip(rows, poses))]


def accepted(decisions: Sequence[Decision]) -> list[int | None]:
    """Return the number of each accepted keyframe, None where a place was withheld."""
    return [d.keyframe.keyframe_id if d.accepted and d.keyframe else None for d in decisions]
