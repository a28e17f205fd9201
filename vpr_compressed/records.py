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

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Match:
    """
    An accepted place.

    :param stamp_ns: stamp of the query image
    :param keyframe: the place of the map that was recognised
    :param similarity: cosine between query and keyframe
    :param confidence: calibrated probability in [0, 1] that the place is right
    :param votes: how many recent frames agreed, the query included
    """

    stamp_ns: int
    keyframe: Keyframe
    similarity: float
    confidence: float
    votes: int


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """
    Everything one image led to.

    :param stamp_ns: stamp of the image
    :param descriptor: float32 ``(D,)``, unit norm
    :param candidates: most similar places, best first; empty when the map knows none
    :param confidences: calibrated probability of each candidate, same length
    :param match: the accepted place, or None for "I do not know"
    :param added: the keyframe this image became, or None
    :param inference_ms: pre-processing and network, wall time in milliseconds
    :param search_ms: search and consistency, wall time in milliseconds
    """

    stamp_ns: int
    descriptor: DescriptorArray
    candidates: tuple[Candidate, ...] = ()
    confidences: tuple[float, ...] = ()
    match: Match | None = None
    added: Keyframe | None = None
    inference_ms: float = 0.0
    search_ms: float = 0.0
