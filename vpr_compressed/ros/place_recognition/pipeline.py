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
From an image message to the published answer.

The executor's thread leaves an image in the mailbox; everything else happens in the worker
thread, one image after the other.
"""

from __future__ import annotations

from collections.abc import Callable
import time
import traceback
from typing import Any
from typing import NamedTuple

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from vpr_compressed.consistency import ConsistencyConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import MapFileError
from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import rgb_from_message
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.ros import qos
from vpr_compressed.ros.place_recognition.activity import Attempt
from vpr_compressed.ros.place_recognition.activity import Statistics
from vpr_compressed.ros.place_recognition.config import LoadedModel
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.mailbox_thread import MailboxThread
from vpr_compressed.ros.place_recognition.outputs import Outputs
from vpr_compressed.ros.place_recognition.poses import PoseSource
from vpr_compressed.sources.frames import stamp_to_ns

HAND_OVER_S = 5e-5
#: How long a request waits for the image in hand.
_REQUEST_S = 10.0


class Settings(NamedTuple):
    """The parameters of the node, group by group."""

    node: PlaceRecognitionConfig
    recognizer: RecognizerConfig
    consistency: ConsistencyConfig


class ReceivedImage(NamedTuple):
    """An image message and when it came, ``time.perf_counter()``."""

    message: Any
    arrived_s: float


class Listening(NamedTuple):
    """The subscriptions of an active node; without poses where keyframes get none."""

    images: Any
    poses: PoseSource | None


class Pipeline:
    """Receive, decode, find the pose, recognise, publish, count."""

    def __init__(
        self, node: LifecycleNode, model: LoadedModel, place_map: PlaceMap, outputs: Outputs,
        open_poses: Callable[[], PoseSource] | None, settings: Settings
    ) -> None:
        """
        Be ready; images are received after ``start``.

        :param node: owner of the subscription
        :param model: describes images
        :param place_map: open map of that model
        :param outputs: where answers go
        :param open_poses: opens what keyframes get their poses from, None for none
        :param settings: the parameters
        :raises MapFileError: map and model do not fit
        """
        self._node = node
        self._logger = node.get_logger()
        self._outputs = outputs
        self._open_poses = open_poses
        self._listening: Listening | None = None
        self._last_stamp_ns: int | None = None
        self._shown_places = -1
        self._counted = (0, 0)
        self.model = model
        self.place_map = place_map
        self.config = settings.node
        self.image_topic = qos.image_topic(node, settings.node.image_transport)
        self.enabled = True
        self.mapping = settings.node.mode in ('mapping', 'slam')
        self.attempt = Attempt(self._logger)
        self.statistics = Statistics()
        self._recognizer = self._make_recognizer(settings)
        self._thread = MailboxThread(self._handle)

    @property
    def active(self) -> bool:
        """Whether images are received."""
        return self._listening is not None

    @property
    def looking(self) -> bool:
        """Whether received images are looked at, without a trigger or because of one."""
        return self.enabled and (self.config.continuous or self.attempt.active)

    # What the executor's thread calls.

    def start(self) -> None:
        """Subscribe to images and poses; earlier images are forgotten, mapping starts anew."""
        self.statistics = Statistics()
        self._thread.call(self._begin)
        self._listening = Listening(
            poses=self._open_poses() if self._open_poses is not None else None,
            images=self._node.create_subscription(
                qos.TRANSPORTS[self.config.image_transport], self.image_topic, self._on_image,
                qos.newest_only(self.config.image_qos), qos_overriding_options=qos.overridable()))

    def stop(self) -> None:
        """Unsubscribe; the image in hand is still answered. May be called twice."""
        if self._listening is not None:
            self._node.destroy_subscription(self._listening.images)
            self._thread.discard()
            self._thread.call(lambda: None)
            if self._listening.poses is not None:
                self._listening.poses.close()
            self._listening = None

    def close(self) -> None:
        """Stop, and end the worker thread."""
        self.stop()
        self._thread.stop()

    def tune(self, settings: Settings) -> None:
        """Take new settings; the images seen so far no longer vote."""
        self.config = self._outputs.config = settings.node

        def replace_recognizer() -> None:
            self._recognizer = self._make_recognizer(settings)
        self._thread.submit(replace_recognizer)

    def missing_image(self) -> str | None:
        """Return why no image arrives, in words, or None while images do arrive."""
        age_s = self.statistics.age_s()
        if not (self.active and self.looking) or age_s <= self.config.image_timeout_s:
            return None
        publishers = self.count_publishers()
        return (f'no image on {self.image_topic} for {age_s:.1f} s '
                f'({publishers} publisher{"" if publishers == 1 else "s"})')

    def count_publishers(self) -> int:
        """Return how many publish the image topic."""
        return self._node.count_publishers(self.image_topic)

    def thumbnail_bytes(self) -> int:
        """Return the bytes of the stored pictures; counted again when the map has changed."""
        places = len(self.place_map)
        if self._counted[0] != places:
            self._counted = places, self.place_map.thumbnail_bytes
        return self._counted[1]

    def update_shown_map(self) -> None:
        """Publish the places again when they changed and somebody looks."""
        outdated = len(self.place_map) != self._shown_places
        if self.active and outdated and self._outputs.map_is_watched():
            self._thread.submit(self._show_map)

    # What the services call; each returns what happened, in words.

    def enable(self, wanted: bool) -> str:
        """Look at images, or ignore them."""
        self.enabled = wanted
        return 'enabled' if wanted else 'disabled: images are ignored'

    def set_mapping(self, wanted: bool) -> str:
        """
        Switch adding keyframes on or off.

        :raises MapFileError: the map was opened read-only
        """
        if wanted and self.place_map.read_only:
            raise MapFileError(
                f'the map {self.place_map.path} is open read-only in mode {self.config.mode}; '
                'start the node with mode slam to add places while localising')
        self.mapping = wanted
        return 'adding places' if wanted else 'not adding places'

    def clear(self) -> str:
        """
        Remove every place.

        :raises MapFileError: the map was opened read-only
        """
        if self.place_map.read_only:
            raise MapFileError(
                f'the map {self.place_map.path} is open read-only in mode {self.config.mode}')
        return f'{self._thread.call(self._clear, _REQUEST_S)} places removed'

    def save(self) -> str:
        """
        Make sure that everything is on disk.

        :raises MapFileError: the map is in memory only
        """
        if self.place_map.path is None:
            raise MapFileError('the map is in memory only; set parameter map_path to keep it')
        self._thread.call(self.place_map.save, _REQUEST_S)
        return f'{len(self.place_map)} places in {self.place_map.path}'

    def trigger(self) -> str:
        """
        Start one attempt to localise.

        :raises ConfigError: why nothing can happen
        """
        config = self.config
        if not self.active:
            raise ConfigError('the node is not active; activate it first')
        if not self.enabled:
            raise ConfigError('the node is disabled; call ~/enable with true first')
        if config.mode == 'mapping':
            raise ConfigError('mode mapping does not localise; use mode localization or slam')
        if not len(self.place_map):
            raise ConfigError('the map is empty, nothing can be recognised')
        missing = self.missing_image()
        if missing is not None:
            raise ConfigError(missing)
        self.attempt.start(config.trigger_timeout_s)
        return (f'looking at {self.image_topic} for up to {config.trigger_timeout_s:g} s; '
                'an accepted place is published on ~/pose')

    def _on_image(self, message: Any) -> None:
        """Leave the image in the mailbox."""
        self.statistics.arrived(
            message.encoding if isinstance(message, Image) else message.format)
        if not self.looking:
            return
        if self._thread.put(ReceivedImage(message, time.perf_counter())):
            self.statistics.add('dropped')
        # Without a pause this thread keeps Python's lock while it prepares its next wait, for
        # half a millisecond in which the image lies there.
        time.sleep(HAND_OVER_S)

    # What the worker thread calls.

    def _handle(self, received: ReceivedImage) -> None:
        """Process one image; whatever is wrong with it costs this image only."""
        try:
            self._process(received)
        except VprError as error:
            self.statistics.bad_image(str(error))
            self._logger.warning(f'image skipped: {error}', throttle_duration_sec=5.0)
        except Exception as error:  # noqa: BLE001  (one image must never end the thread)
            if not self._node.context.ok():
                return  # the node is being shut down, there is nobody to answer
            self.statistics.bad_image(repr(error))
            self._logger.error(f'image skipped after an internal error: {error!r}\n'
                               f'{traceback.format_exc()}', throttle_duration_sec=5.0)

    def _process(self, received: ReceivedImage) -> None:
        message, recognizer = received.message, self._recognizer
        image = rgb_from_message(message, at_least=recognizer.input_size)
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._notice_time_jump(stamp_ns)
        poses = self._listening.poses if self._listening is not None else None
        pose = poses.pose_at(stamp_ns) if self.mapping and poses is not None else None
        recognizer.mapping = self.mapping and (poses is None or pose is not None)
        if self.mapping and not recognizer.mapping:
            self._miss_pose(stamp_ns)
        recognition = recognizer.process(
            image, stamp_ns=stamp_ns, pose=pose, name=message.header.frame_id)
        self._outputs.publish(message.header, recognition, image, pose, self.place_map.thumbnail)
        self.statistics.processed(
            recognition, (time.perf_counter() - received.arrived_s) * 1e3,
            looked=recognizer.localization)
        self.attempt.answered(recognition)

    def _notice_time_jump(self, stamp_ns: int) -> None:
        """Report stamps that go back, as at the end of a looped bag; the recognizer forgets."""
        last, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
        if last is not None and stamp_ns < last:
            self.statistics.add('time_jumps')
            self._logger.warning(
                f'image stamps jumped back by {(last - stamp_ns) / 1e9:.3f} s; earlier images no '
                'longer vote', throttle_duration_sec=5.0)

    def _miss_pose(self, stamp_ns: int) -> None:
        """Report an image that cannot become a keyframe."""
        self.statistics.add('without_pose')
        self._logger.warning(
            f'image at {stamp_ns} ns not added to the map: no pose within '
            f'{self.config.pose_tolerance_s} s of it', throttle_duration_sec=5.0)

    def _begin(self) -> None:
        """Forget earlier images and map in a new session."""
        self._last_stamp_ns = None
        self._recognizer.reset()
        self._show_map()

    def _clear(self) -> int:
        """Remove every place and return how many there were."""
        places = len(self.place_map)
        self.place_map.clear()
        self._recognizer.reset()
        self._show_map()
        return places

    def _make_recognizer(self, settings: Settings) -> Recognizer:
        """Return a recognizer that has seen nothing yet."""
        recognizer = Recognizer(
            self.model.extractor, self.place_map, settings.recognizer, settings.consistency)
        recognizer.localization = settings.node.mode in ('localization', 'slam')
        return recognizer

    def _show_map(self) -> None:
        """Publish the places of the map."""
        self._shown_places = len(self.place_map)
        self._outputs.publish_map(self.place_map.keyframes())
