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

"""Once a second: diagnostics, missing images, and the shown map up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock import ClockType

from vpr_compressed.ros.place_recognition.diagnostics import missing_image
from vpr_compressed.ros.place_recognition.diagnostics import statuses
from vpr_compressed.ros.place_recognition.outputs import Outputs

if TYPE_CHECKING:
    from vpr_compressed.ros.place_recognition.node import PlaceRecognitionNode

_PERIOD_S = 1.0


class Monitor:
    """Publishes ``/diagnostics`` of a configured node, active or not."""

    def __init__(self, node: PlaceRecognitionNode, outputs: Outputs) -> None:
        """
        Start the timer.

        :param node: a configured node
        :param outputs: its publishers
        """
        self._node = node
        self._outputs = outputs
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # steady time: a paused /clock must not silence the diagnostics
        self._timer = node.create_timer(
            _PERIOD_S, self._on_second, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Stop the timer."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def _on_second(self) -> None:
        node = self._node
        node.attempt.check_time()
        state = node.input_state()
        missing = missing_image(node.statistics, state)
        if missing is not None:
            node.get_logger().warning(missing, throttle_duration_sec=10.0)
        array = DiagnosticArray(status=statuses(
            node.statistics, state, node.engine_facts(), node.get_name()))
        array.header.stamp = node.get_clock().now().to_msg()
        self._publisher.publish(array)
        self._update_shown_map()

    def _update_shown_map(self) -> None:
        """Publish the places again when they changed and somebody looks."""
        pipeline, worker = self._node.pipeline, self._node.worker
        if pipeline is None or worker is None or not self._node.active:
            return
        if pipeline.map_is_outdated() and self._outputs.map_is_watched():
            worker.submit(pipeline.publish_map)
