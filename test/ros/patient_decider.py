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

"""A decision that tests can foresee, in the place of the filter."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.decision.decider import Answer
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Decision
from vpr_compressed.records import Pose
from vpr_compressed.records import Status


class PatientDecider:
    """
    Believes the most similar place, and accepts it from so many images on.

    It stands in for ``PlaceDecider``, which has tests of its own; tests tell the class how many
    images it needs and why it withholds a place, and see what it was given.
    """

    needed = 3
    withheld = Status.UNSURE
    configs: ClassVar[list[DecisionConfig | None]] = []
    odometry: ClassVar[list[Pose | None]] = []

    def __init__(
        self, place_map: PlaceMap, calibration: DecisionCalibration,
        config: DecisionConfig | None = None
    ) -> None:
        """Start patiently."""
        self.configs.append(config)
        self._map, self._seen = place_map, 0

    def reset(self) -> None:
        """Forget the images."""
        self._seen = 0

    def update(
        self, descriptor: np.ndarray, *, stamp_ns: int, top_k: int, odometry: Pose | None = None,
        exclude_since_ns: int | None = None
    ) -> Answer:
        """Count an image."""
        self.odometry.append(odometry)
        found = self._map.search(descriptor, top_k, exclude_since_ns=exclude_since_ns)
        if not found:
            status, best, similarity = Status.EMPTY_MAP, None, float('nan')
        else:
            self._seen += 1
            status = Status.ACCEPTED if self._seen >= self.needed else self.withheld
            best, similarity = found[0].keyframe, found[0].similarity
        return Answer(found, [0.25] * len(found), Decision(
            status=status, keyframe=best, similarity=similarity,
            confidence=0.75 if best else 0.0, reason=f'{status.words}, image {self._seen}'))
