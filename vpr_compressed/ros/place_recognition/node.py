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

"""The lifecycle node ``place_recognition``: image topic in, matches and poses out."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from pathlib import Path
import sys
import time
import traceback
from typing import Any

from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from vpr_compressed.consistency import ConsistencyConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import VprError
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.ros import qos
from vpr_compressed.ros.parameters import ParameterGroup
from vpr_compressed.ros.parameters import ParameterSet
from vpr_compressed.ros.place_recognition.attempts import Attempt
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.diagnostics import InputState
from vpr_compressed.ros.place_recognition.diagnostics import missing_image
from vpr_compressed.ros.place_recognition.diagnostics import Statistics
from vpr_compressed.ros.place_recognition.monitor import Monitor
from vpr_compressed.ros.place_recognition.outputs import Outputs
from vpr_compressed.ros.place_recognition.pipeline import open_map
from vpr_compressed.ros.place_recognition.pipeline import Pipeline
from vpr_compressed.ros.place_recognition.pipeline import ReceivedImage
from vpr_compressed.ros.place_recognition.pose_sources import make_pose_source
from vpr_compressed.ros.place_recognition.services import Services
from vpr_compressed.ros.place_recognition.worker import Worker
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.system import memory

GROUPS = (
    ParameterGroup(PlaceRecognitionConfig),
    ParameterGroup(RecognizerConfig, 'recognizer.', changeable=True),
    ParameterGroup(ConsistencyConfig, 'consistency.', changeable=True),
)
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
HAND_OVER_S = 5e-5


class PlaceRecognitionNode(LifecycleNode):
    """
    Recognise places in a stream of images, and add new ones to the map.

    The callbacks hold no algorithm: an image goes into the mailbox of the worker thread, the
    rest happens in ``Pipeline``.
    """

    def __init__(self, *, loader: Callable[..., Any] = load_extractor, **options: Any) -> None:
        """
        Declare the parameters; everything else happens at configure.

        :param loader: called with model path, ``engine`` and ``threads``; returns an extractor
        :param options: arguments of ``rclpy.node.Node``, e.g. ``context``
        """
        super().__init__('place_recognition', **options)
        self._loader = loader
        self._parameter_set = ParameterSet(self, GROUPS)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.statistics = Statistics()
        self.attempt = Attempt(self.get_logger())
        self.enabled = True
        self.active = False
        self.config: PlaceRecognitionConfig | None = None
        self.pipeline: Pipeline | None = None
        self.worker: Worker[ReceivedImage] | None = None
        self._release: list[Callable[[], Any]] = []
        self._image_subscription: Any = None
        self._raw = True
        self.image_topic = ''
        self._model_resident_bytes = 0

    @property
    def autostart(self) -> bool:
        """Whether the node configures and activates itself."""
        return bool(self.get_parameter('autostart').value)

    # Lifecycle: rclpy turns an exception into a silent ERROR, so each transition logs its own.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model and map; FAILURE, with the reason in the log, leaves nothing behind."""
        result = self._attempt('configure', self._configure)
        if result != _SUCCESS:
            self._clean_up()
        return result if result != _SUCCESS else super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images."""
        result = super().on_activate(state)
        return result if result != _SUCCESS else self._attempt('activate', self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; model and map stay loaded."""
        result = self._attempt('deactivate', self._deactivate)
        return result if result != _SUCCESS else super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the map and free the model."""
        return self._attempt('clean up', self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the map and free the model, from whatever state."""
        return self._attempt('shut down', self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured."""
        return self._attempt('recover', self.close)

    def close(self) -> None:
        """Stop listening, finish the image in hand, close the map. May be called twice."""
        self._deactivate()
        self._clean_up()

    def input_state(self) -> InputState:
        """Return what is known about the image topic now."""
        return InputState(
            topic=self.image_topic, publishers=self.count_publishers(self.image_topic),
            active=self.active, enabled=self.enabled and self._looking,
            timeout_s=self.config.image_timeout_s if self.config else 0.0)

    def trigger(self) -> str:
        """
        Start one attempt to localise and return what happens now, in words.

        :raises VprError: why nothing can happen
        """
        config, pipeline = self.config, self.pipeline
        if not self.active or config is None or pipeline is None:
            raise ConfigError('the node is not active; activate it first')
        if not self.enabled:
            raise ConfigError('the node is disabled; call ~/enable with true first')
        if config.mode == 'mapping':
            raise ConfigError('mode mapping does not localise; use mode localization or slam')
        if not self.statistics.map_facts.places:
            raise ConfigError('the map is empty, nothing can be recognised')
        missing = missing_image(self.statistics, self.input_state())
        if missing is not None:
            raise ConfigError(missing)
        self.attempt.start(config.trigger_timeout_s)
        return (f'looking at {self.image_topic} for up to {config.trigger_timeout_s:g} s; '
                'an accepted place is published on ~/pose')

    @property
    def _looking(self) -> bool:
        """Whether images are looked at without a trigger, or one is under way."""
        return self.config is not None and (self.config.continuous or self.attempt.active)

    def _attempt(self, what: str, step: Callable[[], None]) -> TransitionCallbackReturn:
        """Run one step of a transition and turn what goes wrong into a log line."""
        try:
            step()
        except VprError as error:
            self.get_logger().error(f'cannot {what}: {error}')
            return _FAILURE
        except Exception as error:  # rclpy would swallow it without a word
            self.get_logger().error(f'cannot {what}, internal error: {error!r}\n'
                                    f'{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        return _SUCCESS

    def _configure(self) -> None:
        config, recognizer, consistency = self._parameter_set.configs()
        self.config = config
        self.get_logger().info(f'configuration:\n{self._parameter_set.summary()}')
        model = Path(config.model_path).expanduser() if config.model_path else None
        before = memory.resident_bytes()
        extractor = self._loader(
            model, engine=config.engine, threads=config.threads, stays=True)
        self._warm_up(extractor)
        self._model_resident_bytes = max(0, memory.resident_bytes() - before)
        self.worker = worker = Worker(self._handle)
        self._release.append(worker.stop)
        self.pipeline = pipeline = Pipeline(
            extractor, worker.call(lambda: open_map(config, extractor)), config)
        self._release.append(lambda: worker.call(pipeline.close))
        outputs = Outputs(self, config)
        self._release.append(outputs.close)
        self._poses = make_pose_source(self, config)
        pipeline.connect(outputs, self._poses, self.statistics, self.get_logger())
        pipeline.on_answer = self.attempt.answered
        worker.call(lambda: pipeline.tune(config, recognizer, consistency))
        self.statistics.map_facts = worker.call(pipeline.facts)
        self._open_interfaces(config, outputs)
        memory.give_back()  # what reading the map has freed

    def _open_interfaces(self, config: PlaceRecognitionConfig, outputs: Outputs) -> None:
        """Create services and diagnostics."""
        self.image_topic = qos.image_topic(self, config.image_transport)
        services = Services(self)
        self._release.append(services.close)
        monitor = Monitor(self, outputs)
        self._release.append(monitor.close)
        facts, engine = self.statistics.map_facts, self.engine_facts()
        self.get_logger().info(
            f'configured: model {engine["model"]} ({engine["precision"]}, {engine["dimension"]}-D,'
            f' id {engine["descriptor_id"]}) on {engine["engine_choice"] or engine["engine"]}, '
            f'{facts.places} places in {facts.path or "memory"}, images from {self.image_topic}')

    def _warm_up(self, extractor: Any) -> None:
        """Describe one grey image, so that the first real one is not the slow one."""
        import numpy as np

        start = time.perf_counter()
        extractor.describe(np.full((48, 64, 3), 128, np.uint8))
        self.get_logger().info(
            f'first inference took {(time.perf_counter() - start) * 1e3:.0f} ms')

    def _activate(self) -> None:
        config, worker, pipeline = self.config, self.worker, self.pipeline
        if config is None or worker is None or pipeline is None:
            raise ConfigError('the node is not configured')
        self.statistics.start()
        worker.call(pipeline.begin)
        self._poses.start()
        self._raw = config.image_transport == 'raw'
        kind = Image if self._raw else CompressedImage
        self._image_subscription = self.create_subscription(
            kind, self.image_topic, self._on_image, qos.newest_only(config.image_qos),
            qos_overriding_options=qos.overridable())
        self.active = True
        self.get_logger().info(f'active in mode {config.mode}, waiting for {self.image_topic}')

    def _deactivate(self) -> None:
        self.active = False
        if self._image_subscription is not None:
            self.destroy_subscription(self._image_subscription)
            self._image_subscription = None
            self._poses.stop()
        if self.worker is not None:
            self.worker.discard()
            self.worker.call(lambda: None)  # the image in hand is still answered

    def _clean_up(self) -> None:
        """Release everything configure made, newest first."""
        while self._release:
            self._release.pop()()
        self.config = self.pipeline = self.worker = None

    def _on_image(self, message: Any) -> None:
        """Leave the image in the mailbox."""
        self.statistics.arrived(message.encoding if self._raw else message.format)
        if not (self.enabled and self._looking) or self.worker is None:
            return
        if self.worker.put(ReceivedImage(message, time.perf_counter())):
            self.statistics.add('dropped')
        # Without a pause this thread keeps Python's lock while it prepares its next wait, for
        # half a millisecond in which the image lies there.
        time.sleep(HAND_OVER_S)

    def _handle(self, received: ReceivedImage) -> None:
        if self.pipeline is not None:
            self.pipeline.handle(received)

    def engine_facts(self) -> dict[str, Any]:
        """Return what diagnostics and log say about the model."""
        extractor = self.pipeline.extractor if self.pipeline is not None else None
        names = {'engine': 'engine_name', 'model': 'model_name', 'precision': 'precision',
                 'model_bytes': 'model_bytes', 'descriptor_id': 'descriptor_id',
                 'dimension': 'dimension', 'engine_choice': 'engine_choice'}
        return {
            **{name: getattr(extractor, attribute, '') for name, attribute in names.items()},
            'model_resident_bytes': self._model_resident_bytes}

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Check a change of parameters and apply it between two images."""
        names = self._parameter_set.names()
        if not any(parameter.name in names for parameter in parameters):
            return SetParametersResult(successful=True)
        try:
            config, recognizer, consistency = self._parameter_set.changed(parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        pipeline, worker = self.pipeline, self.worker
        if pipeline is not None and worker is not None and self.config is not None:
            self.config = dataclasses.replace(config)
            worker.submit(lambda: pipeline.tune(config, recognizer, consistency))
        return SetParametersResult(successful=True)


def main(args: list[str] | None = None) -> int:
    """
    Run the node until it is told to stop.

    :param args: command line, as rclpy takes it
    :returns: 0, or 1 when autostart failed
    """
    rclpy.init(args=args)
    node = None
    code = 0
    try:
        node = PlaceRecognitionNode()
        if node.autostart:
            started = node.trigger_configure() == _SUCCESS and node.trigger_activate() == _SUCCESS
            code = 0 if started else 1
        if not code:
            rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()
    return code


if __name__ == '__main__':
    sys.exit(main())
