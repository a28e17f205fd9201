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

"""How far the robot went since the last image that counted: by its view, or by odometry."""

from __future__ import annotations

from dataclasses import dataclass
import math

from vpr_compressed.decision.map_view import Spacing
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Pose

#: View change above which an image counts for good.
_KEEP = 0.4
#: A robot that moved less than this, in metres and radians, stands.
_STANDING_M, _STANDING_RAD = 0.02, 0.03
#: Images in a row without a new view after which the robot is said to stand.
_STANDING_IMAGES = 3
#: Small changes of view are noise rather than movement.
_EXPONENT = 1.5


@dataclass(frozen=True)
class Step:
    """
    From the last kept image to this one.

    :param change: view change in [0, 1] of one step of the map
    :param steps: nodes passed at speed 1
    :param keep: the view is new enough to be counted for good
    :param from_odometry: whether odometry says how far it was
    :param standing: no new view for some images
    """

    change: float
    steps: float
    keep: bool
    from_odometry: bool
    standing: bool


class Motion:
    """Compares each image with the last one that counted."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the last image."""
        self._reference: tuple[DescriptorArray, Pose | None] | None = None
        self._now: tuple[DescriptorArray, Pose | None] | None = None
        self._same = 0

    def step(
        self, descriptor: DescriptorArray, odometry: Pose | None, spacing: Spacing,
        node_m: float
    ) -> Step:
        """
        Take an image; :meth:`keep` makes it the one that the next is compared with.

        :param descriptor: ``(D,)``, unit norm
        :param odometry: where the robot was, or None
        :param spacing: of the keyframes of the map
        :param node_m: metres from node to node, NaN where that is not known or not even
        """
        self._now = descriptor, odometry
        per_node = spacing.per_step / spacing.stride
        if self._reference is None:
            return Step(1.0, per_node, keep=True, from_odometry=False, standing=False)
        reference, before = self._reference
        change = min(max((1.0 - float(descriptor @ reference)) / spacing.change, 0.0), 1.0)
        moved = _moved(before, odometry)
        steps, from_odometry = per_node * change ** _EXPONENT, False
        if moved is not None:
            metres, turned = moved
            if metres < _STANDING_M and turned < _STANDING_RAD:
                steps, from_odometry = 0.0, True
            elif math.isfinite(node_m) and node_m > 0.0:
                steps, from_odometry = min(metres / node_m, 8.0), True
        keep = change >= _KEEP
        self._same = 0 if keep else self._same + 1
        return Step(
            change, steps, keep=keep, from_odometry=from_odometry,
            standing=self._same >= _STANDING_IMAGES)

    def keep(self) -> None:
        """Compare the next images with the last one."""
        self._reference = self._now


def _moved(before: Pose | None, now: Pose | None) -> tuple[float, float] | None:
    """Return metres and radians between two poses of one frame, else None."""
    if before is None or now is None or before.frame_id != now.frame_id:
        return None
    cosine = abs(sum(a * b for a, b in zip(before.orientation_xyzw, now.orientation_xyzw)))
    return math.dist(before.position_m, now.position_m), 2.0 * math.acos(min(cosine, 1.0))
