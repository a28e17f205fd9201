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
from contextlib import closing
from contextlib import ExitStack
import sys
import traceback
from typing import Any

from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import VprError
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.ros.parameters import ParameterGroup
from vpr_compressed.ros.parameters import ParameterSet
from vpr_compressed.ros.place_recognition.config import CAUTIOUS
from vpr_compressed.ros.place_recognition.config import load_model
from vpr_compressed.ros.place_recognition.config import open_map
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.config import Settings
from vpr_compressed.ros.place_recognition.operation import open_services
from vpr_compressed.ros.place_recognition.operation import report
from vpr_compressed.ros.place_recognition.outputs import Outputs
from vpr_compressed.ros.place_recognition.pipeline import Pipeline
from vpr_compressed.ros.place_recognition.poses import RobotPoses
from vpr_compressed.ros.program import Diagnostics
from vpr_compressed.ros.program import run_node
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.system import memory
from vpr_compressed.system.processes import FAILED

GROUPS = (
    ParameterGroup(PlaceRecognitionConfig),
    ParameterGroup(RecognizerConfig, 'recognizer.', changeable=True),
    ParameterGroup(DecisionConfig, 'decision.', changeable=True),
)
_SUCCESS = TransitionCallbackReturn.SUCCESS


class PlaceRecognitionNode(LifecycleNode):
    """Recognise places in a stream of images, and add new ones to the map."""

    def __init__(
        self, *, loader: Callable[..., ImageDescriber] = load_extractor, **options: Any
    ) -> None:
        """
        Declare the parameters; everything else happens at configure.

        :param loader: called with model path, ``engine``, ``threads`` and ``stays``
        :param options: arguments of ``rclpy.node.Node``, e.g. ``context``
        """
        super().__init__('place_recognition', **options)
        self._loader = loader
        self._parameter_set = ParameterSet(self, GROUPS)
        self.add_on_set_parameters_callback(self._on_parameters)
        #: What works between configure and clean-up.
        self.pipeline: Pipeline | None = None
        self._configured = ExitStack()

    def run(self) -> int:
        """Configure and activate, if ``autostart`` says so, and handle messages; exit code."""
        if self.get_parameter('autostart').value and not (
                self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS):
            return FAILED
        rclpy.spin(self)
        return 0

    def close(self) -> None:
        """Stop listening, finish the image in hand, close the map. May be called twice."""
        self.pipeline = None
        self._configured.close()

    def destroy_node(self) -> None:
        """Close, and leave the graph."""
        self.close()
        super().destroy_node()

    # Lifecycle: rclpy turns an exception into a silent ERROR, so each transition logs its own.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model and map; FAILURE, with the reason in the log, leaves nothing behind."""
        result = self._attempt('configure', self._configure)
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
        """Close the map and free the model, from whatever state."""
        return self._attempt(f'clean up from state {state.label}', self.close)

    on_shutdown = on_error = on_cleanup

    def _attempt(self, what: str, step: Callable[[], None]) -> TransitionCallbackReturn:
        """Run one step of a transition and turn what goes wrong into a log line."""
        try:
            step()
        except VprError as error:
            self.get_logger().error(f'cannot {what}: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001  (rclpy would swallow it without a word)
            self.get_logger().error(f'cannot {what}, internal error: {error!r}\n'
                                    f'{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        return _SUCCESS

    def _configure(self) -> None:
        """Build everything; what fails on the way closes what was built before it."""
        settings = Settings(*self._parameter_set.configs())
        self.get_logger().info(f'configuration:\n{self._parameter_set.summary()}')
        with ExitStack() as built:
            model = load_model(self._loader, settings.node)
            place_map = built.enter_context(open_map(settings.node, model))
            outputs = built.enter_context(closing(Outputs(self, settings.node)))
            pipeline = built.enter_context(closing(Pipeline(
                self, model, place_map, outputs, RobotPoses(self, settings.node), settings)))
            built.enter_context(open_services(self, pipeline))
            built.enter_context(closing(Diagnostics(
                self, lambda: report(self, pipeline),
                f'{model.facts["model"]} on {model.facts["engine"]}')))
            self._configured = built.pop_all()
        self.pipeline = pipeline
        self.get_logger().info(
            f'configured: {model.describe()}, {len(place_map)} places in '
            f'{place_map.path or "memory"}, images from {pipeline.image_topic}; first inference '
            f'took {model.first_ms:.0f} ms')
        if not model.fitted and settings.node.mode != 'mapping':
            self.get_logger().warning(
                f'the model has the {CAUTIOUS}: fewer places are accepted than could be; '
                f'"vpr_compressed calibrate" fits it')
        memory.give_back()  # what reading the map has freed

    def _activate(self) -> None:
        if self.pipeline is not None:
            self.pipeline.start()
            self.get_logger().info(f'active in mode {self.pipeline.config.mode}, waiting for '
                                   f'{self.pipeline.image_topic}')

    def _deactivate(self) -> None:
        if self.pipeline is not None:
            self.pipeline.stop()

    def _on_parameters(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        """Check a change of parameters and apply it between two images."""
        if not any(parameter.name in self._parameter_set.names for parameter in parameters):
            return SetParametersResult(successful=True)
        try:
            settings = Settings(*self._parameter_set.changed(parameters))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.pipeline is not None:
            self.pipeline.tune(settings)
        return SetParametersResult(successful=True)


def main(args: list[str] | None = None) -> int:
    """
    Run the node until it is told to stop.

    :param args: command line, as rclpy takes it
    :returns: 0, or 1 when autostart failed
    """
    return run_node('place_recognition', PlaceRecognitionNode, args)


if __name__ == '__main__':
    sys.exit(main())
