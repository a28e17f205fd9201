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

"""What a node says of itself on ``/diagnostics``, once a second."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from rclpy.clock import Clock
from rclpy.clock import ClockType  # type: ignore[attr-defined]  # where Humble has it
from rclpy.node import Node

from vpr_compressed.ros import qos

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
TOPIC = '/diagnostics'
_PERIOD_S = 1.0


class Diagnostics:
    """Publishes the state of a node, whether it is active or not."""

    def __init__(self, node: Node, report: Callable[[], Sequence[DiagnosticStatus]]) -> None:
        """
        Start the timer.

        :param node: owner
        :param report: called once a second; returns the entries to publish
        """
        self._node = node
        self._report = report
        self._publisher = node.create_publisher(DiagnosticArray, TOPIC, qos.results())
        self._timer = node.create_timer(_PERIOD_S, self.publish, clock=steady_clock())

    def publish(self) -> None:
        """Publish the state now."""
        array = DiagnosticArray(status=[*self._report()])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def close(self) -> None:
        """Stop the timer."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)


def steady_clock() -> Clock:
    """Return the clock of timers that a paused ``/clock`` must not stop."""
    return Clock(clock_type=ClockType.STEADY_TIME)


def diagnostic_status(
    name: str, level: bytes, message: str, values: Mapping[str, Any], hardware_id: str = ''
) -> DiagnosticStatus:
    """Return one entry of ``/diagnostics``; floats are rounded to 4 significant digits."""
    return DiagnosticStatus(
        name=name, level=level, message=message, hardware_id=hardware_id,
        values=[KeyValue(key=key, value=f'{value:.4g}' if isinstance(value, float)
                         else str(value)) for key, value in values.items()])
