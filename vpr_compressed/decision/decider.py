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

"""The one entry of the decision: search the map, weigh what was found, say what is believed."""

from __future__ import annotations

from typing import NamedTuple

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Candidate
from vpr_compressed.records import Decision
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Pose
from vpr_compressed.records import Status


class Answer(NamedTuple):
    """Candidates, best first, the probability of each, and the decision."""

    candidates: list[Candidate]
    confidences: list[float]
    decision: Decision


class PlaceDecider:
    """
    Decide over a walk which place of a map an image shows; one thread uses it.

    :param place_map: is searched, and may grow or be edited meanwhile
    :param calibration: of the model that makes the descriptors
    """

    def __init__(
        self, place_map: PlaceMap, calibration: DecisionCalibration,
        config: DecisionConfig | None = None
    ) -> None:
        self._map = place_map
        self._calibration = calibration
        self._config = config or DecisionConfig()

    def reset(self) -> None:
        """Forget earlier images."""

    def update(
        self, descriptor: DescriptorArray, *, stamp_ns: int, top_k: int,
        odometry: Pose | None = None, exclude_since_ns: int | None = None
    ) -> Answer:
        """
        Take one image.

        :param descriptor: float32, ``(D,)``, unit norm
        :param stamp_ns: image time in nanoseconds, not before the last one
        :param top_k: candidates wanted
        :param odometry: where the robot was, in a frame that does not jump; drives the
            prediction where it is known
        :param exclude_since_ns: keyframes of the current session stamped at or after it are no
            answer
        :raises MapFileError: when the map cannot be read
        """
        candidates = self._map.search(descriptor, top_k, exclude_since_ns=exclude_since_ns)
        curve = self._calibration.walk
        if not candidates:
            return Answer([], [], Decision(
                status=Status.EMPTY_MAP, keyframe=None, similarity=float('nan'), confidence=0.0,
                reason=Status.EMPTY_MAP.words))
        # STUB while the filter is being built: the best image decides alone.
        confidences = [max(0.0, min(1.0, 2.0 * c.similarity - 0.6)) for c in candidates]
        best = candidates[0]
        accepted = confidences[0] >= curve.threshold(self._config.min_precision) - 0.3
        status = Status.ACCEPTED if accepted else Status.UNSURE
        return Answer(candidates, confidences, Decision(
            status=status, keyframe=best.keyframe, similarity=best.similarity,
            confidence=confidences[0], evidence={'belief': 0.0},
            reason=f'{status.words}: place {best.keyframe.keyframe_id}, confidence '
                   f'{confidences[0]:.2f}'))
