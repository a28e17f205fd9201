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

The executor's thread leaves an image in the mailbox; everything else happens in one thread that
owns the recognizer. Whatever the camera's rate, it always takes the newest image and the older
ones are counted as dropped: a 200 ms inference never builds a queue, and services, parameters and
lifecycle requests stay answered. Jobs (save, clear, tune) run between two images.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
import threading
import time
import traceback
from typing import Any
from typing import NamedTuple
from typing import TypeVar

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import rgb_from_message
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.ros import qos
from vpr_compressed.ros.place_recognition.activity import Attempt
from vpr_compressed.ros.place_recognition.activity import Statistics
from vpr_compressed.ros.place_recognition.config import LoadedModel
from vpr_compressed.ros.place_recognition.config import Settings
from vpr_compressed.ros.place_recognition.outputs import Outputs
from vpr_compressed.ros.place_recognition.poses import RobotPoses
from vpr_compressed.sources.frames import stamp_to_ns

ResultT = TypeVar('ResultT')
HAND_OVER_S = 5e-5
#: How long a request waits for the image in hand.
_REQUEST_S = 10.0


class MailboxThread:
    """A thread that handles the newest item, and jobs in the order they came."""

    def __init__(self, handle: Callable[[Any], None]) -> None:
        """
        Start idle.

        :param handle: called in the thread with each item taken; it must not raise
        """
        self._handle = handle
        self._lock = threading.Lock()
        self._item: Any = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='recognizer')

    def put(self, item: Any) -> bool:
        """
        Leave the newest item, replacing one that was not taken yet.

        :returns: True if an older item was dropped
        """
        with self._lock:
            dropped = self._item is not None
            self._item = item
        if not dropped:
            self.submit(self._take)
        return dropped

    def discard(self) -> None:
        """Empty the mailbox."""
        with self._lock:
            self._item = None

    def submit(self, job: Callable[[], ResultT]) -> Future[ResultT]:
        """
        Run a job in the thread, after what was left there before it.

        :returns: the result or the exception of the job
        :raises VprError: the thread was stopped
        """
        try:
            return self._pool.submit(job)
        except RuntimeError as error:
            raise VprError('the node is shutting down') from error

    def call(self, job: Callable[[], ResultT], timeout_s: float | None = None) -> ResultT:
        """
        Run a job in the thread and wait for its result.

        :param timeout_s: longest wait in seconds; the job then still runs later
        :raises VprError: it did not run in time, or the thread was stopped
        """
        try:
            return self.submit(job).result(timeout_s)
        except FutureTimeoutError as error:
            raise VprError(f'the recognizer is busy for more than {timeout_s:.0f} s; '
                           'see /diagnostics for its inference time') from error

    def stop(self) -> None:
        """Finish the item in hand and the jobs, drop the waiting item, end the thread."""
        self.discard()
        self._pool.shutdown()

    def _take(self) -> None:
        """Handle the newest item, if it was not discarded."""
        with self._lock:
            item, self._item = self._item, None
        if item is not None:
            self._handle(item)


class ReceivedImage(NamedTuple):
    """An image message and when it came, ``time.perf_counter()``."""

    message: Any
    arrived_s: float


class Pipeline:
    """Receive, decode, find the pose, recognise, publish, count."""

    def __init__(
        self, node: LifecycleNode, model: LoadedModel, place_map: PlaceMap, outputs: Outputs,
        poses: RobotPoses, settings: Settings
    ) -> None:
        """
        Be ready; images are received after ``start``.

        :param node: owner of the subscription
        :param model: describes images
        :param place_map: open map of that model
        :param outputs: where answers go
        :param poses: where the robot is; opened and closed here
        :param settings: the parameters
        :raises MapFileError: map and model do not fit
        """
        self._node = node
        self._logger = node.get_logger()
        self._outputs = outputs
        self._poses = poses
        self._images: Any = None
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
        return self._images is not None

    @property
    def looking(self) -> bool:
        """Whether received images are looked at, without a trigger or because of one."""
        return self.enabled and (self.config.continuous or self.attempt.active)

    # What the executor's thread calls.

    def start(self) -> None:
        """Subscribe to images and poses; earlier images are forgotten, mapping starts anew."""
        self.statistics = Statistics()
        self._thread.call(self._begin)
        self._poses.open()
        self._images = self._node.create_subscription(
            qos.TRANSPORTS[self.config.image_transport], self.image_topic, self._on_image,
            qos.newest_only(self.config.image_qos), qos_overriding_options=qos.overridable())

    def stop(self) -> None:
        """Unsubscribe; the image in hand is still answered. May be called twice."""
        if self._images is not None:
            self._node.destroy_subscription(self._images)
            self._images = None
            self._thread.discard()
            self._thread.call(lambda: None)
        self._poses.close()

    def close(self) -> None:
        """Stop, and end the worker thread."""
        self.stop()
        self._thread.stop()

    def tune(self, settings: Settings) -> None:
        """Take new settings; the images seen so far are forgotten."""
        self.config = self._outputs.config = settings.node

        def replace_recognizer() -> None:
            self._recognizer = self._make_recognizer(settings)
        self._thread.submit(replace_recognizer)

    def thumbnail_bytes(self) -> int:
        """Return the bytes of the stored pictures; counted again when the map has changed."""
        places = len(self.place_map)
        if self._counted[0] != places:
            self._counted = places, 0
            try:
                self._counted = places, self.place_map.thumbnail_bytes
            except VprError as error:  # pictures are not looked at when a map is opened
                self._logger.warning(f'the stored pictures cannot be counted: {error}')
        return self._counted[1]

    def count_publishers(self) -> int:
        """Return how many publish the image topic."""
        return self._node.count_publishers(self.image_topic)

    def update_shown_map(self) -> None:
        """Publish the places again when they changed and somebody looks."""
        outdated = len(self.place_map) != self._shown_places
        if self.active and outdated and self._outputs.map_is_watched():
            self._thread.submit(self._show_map)

    def localise(self) -> None:
        """Start an attempt that knows no earlier image; waits for the image in hand."""
        def start() -> None:
            self._recognizer.forget()
            self.attempt.start(self.config.trigger_timeout_s)
        self._thread.call(start, _REQUEST_S)

    def clear(self) -> int:
        """Remove every place and return how many there were; waits for the image in hand."""
        return self._thread.call(self._clear, _REQUEST_S)

    def save(self) -> None:
        """Make sure that everything is on disk; waits for the image in hand."""
        self._thread.call(self.place_map.save, _REQUEST_S)

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
        pose = self._poses.in_map(stamp_ns) if self.mapping else None
        recognizer.mapping = self.mapping and (pose is not None or not self._poses.needed)
        if self.mapping and not recognizer.mapping:
            self._miss_pose(stamp_ns)
        odometry = self._poses.in_odometry(stamp_ns)
        recognition = recognizer.process(
            image, stamp_ns=stamp_ns, pose=pose, odometry=odometry, name=message.header.frame_id)
        self._outputs.publish(message.header, recognition, image, pose, self.place_map.thumbnail)
        self.statistics.processed(
            recognition, (time.perf_counter() - received.arrived_s) * 1e3,
            odometry=odometry is not None)
        self.attempt.answered(recognition)

    def _notice_time_jump(self, stamp_ns: int) -> None:
        """Report stamps that go back, as at the end of a looped bag; the recognizer forgets."""
        last, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
        if last is not None and stamp_ns < last:
            self.statistics.add('time_jumps')
            self._logger.warning(
                f'image stamps jumped back by {(last - stamp_ns) / 1e9:.3f} s; earlier images '
                'are forgotten', throttle_duration_sec=5.0)

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
            self.model.extractor, self.place_map, settings.recognizer, settings.decision)
        recognizer.localization = settings.node.mode in ('localization', 'slam')
        return recognizer

    def _show_map(self) -> None:
        """Publish the places of the map."""
        self._shown_places = len(self.place_map)
        self._outputs.publish_map(self.place_map.keyframes())
