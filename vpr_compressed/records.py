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
Records that travel between the parts; no behaviour beyond checking themselves.

Time is integer nanoseconds (``_ns``), lengths are metres (``_m``), similarity is the cosine
in [-1, 1] (larger is better), poses follow REP-103 (position in metres, quaternion xyzw).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

#: Colour image, uint8, ``(H, W, 3)``, RGB.
ImageArray = NDArray[np.uint8]
#: Global descriptor(s), float32, ``(D,)`` or ``(N, D)``, unit L2 norm.
DescriptorArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Pose:
    """
    Where the robot's base was when an image was taken.

    :param position_m: x, y, z in metres in ``frame_id``
    :param orientation_xyzw: unit quaternion
    :param frame_id: frame the pose is expressed in, ``map`` as a rule
    :param covariance_diagonal: variances of x, y, z (m^2), roll, pitch, yaw (rad^2)
    """

    position_m: tuple[float, float, float]
    orientation_xyzw: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    frame_id: str = 'map'
    covariance_diagonal: tuple[float, float, float, float, float, float] = (
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Keyframe:
    """
    One place of the map.

    :param keyframe_id: stable number in the map file, never reused
    :param session: number of the mapping run that added it, from 1
    :param stamp_ns: time stamp of its image in nanoseconds
    :param pose: pose of the robot base, or None where the run had no positions
    :param external_id: key of the same keyframe in another system (a SLAM), or ''
    :param name: file name or topic the image came from, for people
    """

    keyframe_id: int
    session: int
    stamp_ns: int
    pose: Pose | None = None
    external_id: str = ''
    name: str = ''


@dataclass(frozen=True)
class Candidate:
    """A keyframe that looks like the query; ``similarity`` is a cosine in [-1, 1]."""

    keyframe: Keyframe
    similarity: float


class Status(IntEnum):
    """
    What became of a place, as a number for messages; ``words`` says it to people.

    One row of ``~/matches`` is the believed place and has one of 1 to 5, the others have 0.
    """

    CANDIDATE = 0
    ACCEPTED = 1
    UNKNOWN = 2
    LOOK_ALIKE = 3
    STANDING = 4
    UNSURE = 5
    EMPTY_MAP = 6

    @property
    def words(self) -> str:
        """Return what happened, in a few words."""
        return _STATUS_WORDS[self]


_STATUS_WORDS = {
    Status.CANDIDATE: 'a candidate',
    Status.ACCEPTED: 'place accepted',
    Status.UNKNOWN: 'nothing known looks like this',
    Status.LOOK_ALIKE: 'two places look alike',
    Status.STANDING: 'not enough movement yet',
    Status.UNSURE: 'not sure enough yet',
    Status.EMPTY_MAP: 'nothing in the map to compare with'}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """
    The place that is believed in after an image, and whether it may be relied on.

    :param status: ``ACCEPTED``, or why the place is withheld
    :param keyframe: the believed place, accepted or not; None when the map has none
    :param similarity: cosine between query and keyframe, NaN without a keyframe
    :param confidence: calibrated probability in [0, 1] that the keyframe is right
    :param threshold: confidence at which a place is accepted
    :param basis: ``walk`` when the images so far decided, ``single`` when this one alone did,
        '' when there was nothing to decide
    :param reason: the status in a sentence with the places and numbers it comes from
    :param evidence: what the confidence was computed from, name -> value
    """

    status: Status
    keyframe: Keyframe | None
    similarity: float
    confidence: float
    reason: str
    threshold: float = 1.0
    basis: str = ''
    evidence: Mapping[str, float] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Return whether the place may be relied on."""
        return self.status is Status.ACCEPTED


@dataclass(frozen=True, kw_only=True)
class Match:
    """
    An accepted place.

    :param stamp_ns: stamp of the query image
    :param keyframe: the place of the map that was recognised
    :param similarity: cosine between query and keyframe
    :param confidence: calibrated probability in [0, 1] that the place is right
    """

    stamp_ns: int
    keyframe: Keyframe
    similarity: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """
    Everything one image led to.

    :param stamp_ns: stamp of the image
    :param descriptor: float32 ``(D,)``, unit norm
    :param candidates: most similar places, best first; empty when the map knows none
    :param confidences: calibrated probability of each candidate, same length
    :param decision: the believed place and whether it may be relied on; None when the map was
        not searched
    :param added: the keyframe this image became, or None
    :param inference_ms: pre-processing and network, wall time in milliseconds
    :param search_ms: search and decision, wall time in milliseconds
    """

    stamp_ns: int
    descriptor: DescriptorArray
    candidates: tuple[Candidate, ...] = ()
    confidences: tuple[float, ...] = ()
    decision: Decision | None = None
    added: Keyframe | None = None
    inference_ms: float = 0.0
    search_ms: float = 0.0

    @property
    def match(self) -> Match | None:
        """Return the accepted place, or None for "I do not know"."""
        decision = self.decision
        if decision is None or not decision.accepted or decision.keyframe is None:
            return None
        return Match(
            stamp_ns=self.stamp_ns, keyframe=decision.keyframe, similarity=decision.similarity,
            confidence=decision.confidence)
