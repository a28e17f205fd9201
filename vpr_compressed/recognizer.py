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
From an image to a place: the one method that the node, the evaluation and the CLI call.

Images are described by an extractor; ``decision`` searches the map and says which place is
believed. None means "I do not know"; it is never replaced by the best guess.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from time import perf_counter
from typing import Protocol

import numpy as np

from vpr_compressed.config import Bounded
from vpr_compressed.config import option
from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.decision.decider import Answer
from vpr_compressed.decision.decider import PlaceDecider
from vpr_compressed.decision.likeness import SEARCHED
from vpr_compressed.errors import EngineError
from vpr_compressed.errors import MapFileError
from vpr_compressed.images.pixels import thumbnail_jpeg
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition

_NS_PER_S = 1_000_000_000
#: How far the norm of a descriptor may be from one.
_NORM_TOLERANCE = 1e-2


class ImageDescriber(Protocol):
    """What turns an image into a descriptor; the engines of ``runtime`` do."""

    @property
    def dimension(self) -> int:
        """Return the number of values per descriptor."""

    @property
    def descriptor_id(self) -> str:
        """Return the id that maps of this model carry."""

    @property
    def calibration(self) -> DecisionCalibration:
        """Return what the decision needs to know of the model."""

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return the descriptor of an image, float32, ``(D,)``, unit norm."""


@dataclass(frozen=True, kw_only=True)
class RecognizerConfig(Bounded):
    """What is searched, and which images become keyframes."""

    top_k: int = option(
        5, 'number of candidates named per image', minimum=1, maximum=SEARCHED)
    exclude_recent_s: float = option(
        30.0, 'while mapping: seconds of the current session that are not searched', minimum=0.0)
    keyframe_min_interval_s: float = option(
        0.0, 'while mapping: seconds between keyframes; 0 takes every image', minimum=0.0)
    keyframe_min_distance_m: float = option(
        0.0, 'while mapping with poses: metres between keyframes; 0 does not look', minimum=0.0)
    keyframe_max_similarity: float = option(
        1.0, 'while mapping: images more similar than this to the last keyframe are left out; '
        '1 does not look', minimum=-1.0, maximum=1.0)
    thumbnail_width: int = option(
        160, 'while mapping: width in pixels of the small picture stored with a keyframe in the '
        'map file (about 4 kB); 0 stores none', minimum=0, maximum=1920)


class Recognizer:
    """
    Recognise and remember places; one thread calls ``process``, ``forget`` and ``reset``.

    ``localization`` searches the map and never changes it; ``mapping`` adds keyframes; both
    together search before adding and leave out what was just seen (online SLAM).

    :param extractor: describes images
    :param place_map: map of the same descriptors
    :raises MapFileError: when the map was made with another model
    """

    def __init__(
        self, extractor: ImageDescriber, place_map: PlaceMap,
        config: RecognizerConfig | None = None, decision: DecisionConfig | None = None
    ) -> None:
        found, needed = place_map.descriptor_id, extractor.descriptor_id
        if found != needed or place_map.dimension != extractor.dimension:
            raise MapFileError(
                f'map {place_map.path or "in memory"} holds {place_map.dimension}-D descriptors '
                f'{found}, the model makes {extractor.dimension}-D {needed}; use the model the '
                'map was made with, or build the map again')
        self.mapping = False
        self.localization = True
        self._extractor = extractor
        self._map = place_map
        self._config = config or RecognizerConfig()
        self._decider = PlaceDecider(place_map, extractor.calibration, decision)
        #: Newest keyframe and its descriptor, with which the next image is compared.
        self._last: tuple[Keyframe, DescriptorArray] | None = None
        self._last_stamp_ns: int | None = None
        self._session_over = False

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Width and height an image needs at least; the network uses no more. None if unknown."""
        return getattr(self._extractor, 'input_size', None)

    def forget(self) -> None:
        """Decide from now on as if no image had been seen; mapping goes on in its session."""
        self._decider.reset()

    def reset(self) -> None:
        """Forget earlier frames; mapping goes on in a new session."""
        self.forget()
        self._last = None
        self._last_stamp_ns = None
        self._session_over = True

    def process(
        self, image: ImageArray, *, stamp_ns: int, pose: Pose | None = None,
        odometry: Pose | None = None, external_id: str = '', name: str = ''
    ) -> Recognition:
        """
        Describe an image, search for its place and, while mapping, remember it.

        A stamp before the last one (a bag that starts again) resets first.

        :param image: RGB uint8, ``(H, W, 3)``
        :param stamp_ns: image time in nanoseconds
        :param pose: pose of the robot, stored with a keyframe
        :param odometry: where the robot is in a frame that does not jump, where that is known;
            tells the decision how far it moved
        :param external_id: the image's key in another system, stored with a keyframe
        :param name: for people, stored with a keyframe
        :returns: descriptor, candidates and decision
        :raises EngineError: when the network returns no unit descriptor
        :raises MapFileError: when the map cannot be read or written
        """
        started = perf_counter()
        descriptor = _checked(self._extractor.describe(image), self._extractor.dimension)
        described = perf_counter()
        if self._last_stamp_ns is not None and stamp_ns < self._last_stamp_ns:
            self.reset()
        self._last_stamp_ns = stamp_ns
        if self.mapping and self._session_over:
            self._map.begin_session()
            self._session_over = False
        answer = self._decide(descriptor, stamp_ns, odometry) if self.localization else None
        searched = perf_counter()
        added = None
        if self.mapping and self._is_new(descriptor, stamp_ns, pose):
            added = self._map.add(
                descriptor, stamp_ns=stamp_ns, pose=pose, external_id=external_id, name=name,
                thumbnail=self._thumbnail(image))
            self._last = (added, descriptor)
        candidates, confidences, decision = answer or ([], [], None)
        return Recognition(
            stamp_ns=stamp_ns, descriptor=descriptor, candidates=tuple(candidates),
            confidences=tuple(confidences), decision=decision,
            added=added, inference_ms=(described - started) * 1e3,
            search_ms=(searched - described) * 1e3)

    def _thumbnail(self, image: ImageArray) -> bytes | None:
        """Return the picture of a new keyframe; a map in memory would grow too much by it."""
        width = self._config.thumbnail_width
        return thumbnail_jpeg(image, width) if width and self._map.path else None

    def _decide(
        self, descriptor: DescriptorArray, stamp_ns: int, odometry: Pose | None
    ) -> Answer:
        """Return what is believed; while mapping without what was just seen."""
        since_ns = None
        if self.mapping:
            since_ns = stamp_ns - round(self._config.exclude_recent_s * _NS_PER_S)
        return self._decider.update(
            descriptor, stamp_ns=stamp_ns, top_k=self._config.top_k, odometry=odometry,
            exclude_since_ns=since_ns)

    def _is_new(self, descriptor: DescriptorArray, stamp_ns: int, pose: Pose | None) -> bool:
        """Return whether an image differs enough from the last keyframe to become one."""
        if self._last is None:
            return True
        config, (last, before) = self._config, self._last
        if stamp_ns - last.stamp_ns < config.keyframe_min_interval_s * _NS_PER_S:
            return False
        if config.keyframe_min_distance_m > 0.0 and pose and last.pose:
            moved_m = math.dist(pose.position_m, last.pose.position_m)
            if moved_m < config.keyframe_min_distance_m:
                return False
        limit = config.keyframe_max_similarity
        return limit >= 1.0 or float(descriptor @ before) <= limit


def _checked(descriptor: DescriptorArray, dimension: int) -> DescriptorArray:
    """Return a descriptor that is one, or raise EngineError."""
    vector = np.asarray(descriptor, np.float32)
    if vector.shape != (dimension,):
        raise EngineError(
            f'the network returned shape {vector.shape}, its model says ({dimension},); the model '
            'file and the engine do not fit, choose another engine')
    norm = float(np.linalg.norm(vector))
    if not abs(norm - 1.0) <= _NORM_TOLERANCE:  # also refuses NaN
        raise EngineError(
            f'the network returned a descriptor of norm {norm} instead of 1; choose another '
            'engine or make the model file again')
    return vector
