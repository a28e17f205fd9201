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
From an image message to the published answer; everything here runs in the worker thread.

The pipeline owns extractor, map and recognizer of a configured node. Opening and closing the
map happen in the worker thread too, so its SQLite connection never leaves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
import time
import traceback
from typing import Any

from vpr_compressed.consistency import ConsistencyConfig
from vpr_compressed.errors import MapFileError
from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import rgb_from_message
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import Recognition
from vpr_compressed.ros.conversions import stamp_to_ns
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.diagnostics import MapFacts
from vpr_compressed.ros.place_recognition.diagnostics import Statistics
from vpr_compressed.ros.place_recognition.outputs import Outputs
from vpr_compressed.ros.place_recognition.pose_sources import PoseSource


@dataclass(frozen=True)
class ReceivedImage:
    """An image message and when it came, ``time.perf_counter()``."""

    message: Any
    arrived_s: float


class Pipeline:
    """Decode, find the pose, recognise, publish, count: one image after the other."""

    def __init__(
        self, extractor: Any, place_map: PlaceMap, config: PlaceRecognitionConfig
    ) -> None:
        """
        Take ownership of an open map.

        :param extractor: describes images
        :param place_map: opened in the thread that calls ``handle``
        :param config: mode and image settings
        """
        self.extractor = extractor
        self.place_map = place_map
        self.config = config
        self.mapping = config.mode in ('mapping', 'slam')
        self.on_answer: Callable[[Recognition], None] = lambda _: None
        self._recognizer: Recognizer
        self._outputs: Outputs
        self._poses: PoseSource
        self._statistics: Statistics
        self._logger: Any
        self._last_stamp_ns: int | None = None
        self._shown_places = -1

    def connect(
        self, outputs: Outputs, poses: PoseSource, statistics: Statistics, logger: Any
    ) -> None:
        """Say where answers, poses, counts and log lines go."""
        self._outputs, self._poses = outputs, poses
        self._statistics, self._logger = statistics, logger

    def tune(
        self, config: PlaceRecognitionConfig, recognizer: RecognizerConfig,
        consistency: ConsistencyConfig
    ) -> None:
        """Take new settings; the frames seen so far no longer vote."""
        self.config = config
        self._outputs.config = config
        self._recognizer = Recognizer(self.extractor, self.place_map, recognizer, consistency)
        self._recognizer.localization = config.mode in ('localization', 'slam')

    def begin(self) -> None:
        """Forget earlier frames and map in a new session; called at activation."""
        self._last_stamp_ns = None
        self._recognizer.reset()
        self.publish_map()

    def handle(self, received: ReceivedImage) -> None:
        """Process one image; whatever is wrong with it costs this image only."""
        try:
            self._process(received)
        except VprError as error:
            self._statistics.bad_image(str(error))
            self._logger.warning(f'image skipped: {error}', throttle_duration_sec=5.0)
        except Exception as error:  # one image must never end the thread
            if not self._outputs.is_open():
                return  # the node is being shut down, there is nobody to answer
            self._statistics.bad_image(repr(error))
            self._logger.error(f'image skipped after an internal error: {error!r}\n'
                               f'{traceback.format_exc()}', throttle_duration_sec=5.0)

    def set_mapping(self, wanted: bool) -> None:
        """
        Switch adding keyframes on or off.

        :raises MapFileError: the map was opened read-only
        """
        if wanted and self.place_map.read_only:
            raise MapFileError(
                f'the map {self.place_map.path} is open read-only in mode {self.config.mode}; '
                'start the node with mode slam to add places while localising')
        self.mapping = wanted

    def clear(self) -> int:
        """
        Remove every place and return how many there were.

        :raises MapFileError: the map was opened read-only
        """
        if self.place_map.read_only:
            raise MapFileError(
                f'the map {self.place_map.path} is open read-only in mode {self.config.mode}')
        places = len(self.place_map)
        self.place_map.clear()
        self._recognizer.reset()
        self.publish_map()
        return places

    def save(self) -> str:
        """
        Make sure that everything is on disk and return what is there.

        :raises MapFileError: the map is in memory only
        """
        if self.place_map.path is None:
            raise MapFileError('the map is in memory only; set parameter map_path to keep it')
        self.place_map.save()
        return f'{len(self.place_map)} places in {self.place_map.path}'

    def publish_map(self) -> None:
        """Publish the places of the map."""
        self._statistics.map_facts = facts = self.facts()
        self._shown_places = facts.places
        self._outputs.publish_map(self.place_map.keyframes())

    def map_is_outdated(self) -> bool:
        """Return whether the map has changed since it was published."""
        return self._statistics.map_facts.places != self._shown_places

    def facts(self) -> MapFacts:
        """Return size and memory of the map."""
        store = self.place_map
        return MapFacts(
            path=str(store.path or ''), places=len(store), read_only=store.read_only,
            bytes_per_place=float(store.bytes_per_place), index_bytes=int(store.index_bytes))

    def close(self) -> None:
        """Close the map; nothing may be called after that."""
        self.place_map.close()

    def _process(self, received: ReceivedImage) -> None:
        message = received.message
        image = rgb_from_message(message, at_least=self._recognizer.input_size)
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._notice_time_jump(stamp_ns)
        pose = self._poses.pose_at(stamp_ns) if self.mapping else None
        add = self.mapping and (pose is not None or not self._poses.required)
        if self.mapping and not add:
            self._statistics.add('without_pose')
            self._logger.warning(
                f'image at {stamp_ns} ns not added to the map: no pose within '
                f'{self.config.pose_tolerance_s} s of it', throttle_duration_sec=5.0)
        self._recognizer.mapping = add
        recognition = self._recognizer.process(
            image, stamp_ns=stamp_ns, pose=pose, name=message.header.frame_id)
        self._outputs.publish(message.header, recognition, image, pose, self._thumbnail)
        self._count(recognition, received)

    def _count(self, recognition: Recognition, received: ReceivedImage) -> None:
        """Update the statistics after an answer."""
        self._statistics.map_facts = self.facts()
        self._statistics.processed(
            recognition, (time.perf_counter() - received.arrived_s) * 1e3,
            looked=self._recognizer.localization)
        self.on_answer(recognition)

    def _notice_time_jump(self, stamp_ns: int) -> None:
        """Report stamps that go back, as at the end of a looped bag; the recognizer forgets."""
        last, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
        if last is not None and stamp_ns < last:
            self._statistics.add('time_jumps')
            self._logger.warning(
                f'image stamps jumped back by {(last - stamp_ns) / 1e9:.3f} s; earlier images no '
                'longer vote', throttle_duration_sec=5.0)

    def _thumbnail(self, keyframe_id: int) -> bytes | None:
        """Return the small image stored with a keyframe, or None."""
        reader = getattr(self.place_map, 'thumbnail', None)
        return None if reader is None else reader(keyframe_id)


def open_map(config: PlaceRecognitionConfig, extractor: Any) -> PlaceMap:
    """
    Open or create the map the mode needs.

    :param config: mode and path; a relative path starts where the node was started
    :param extractor: model the map has to fit
    :raises MapFileError: the map is missing, damaged, not writable or of another model
    """
    path = Path(config.map_path).expanduser() if config.map_path else None
    identity = extractor.descriptor_id
    if config.mode == 'localization' and path is not None:
        return PlaceMap.open(path, descriptor_id=identity, read_only=True)
    if path is not None and path.exists():
        return PlaceMap.open(path, descriptor_id=identity, read_only=False)
    return PlaceMap.create(
        path, descriptor_id=identity, dimension=extractor.dimension,
        model_name=str(getattr(extractor, 'model_name', '')))
