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

"""Nodes as programs: exit codes, waiting, and what they say on ``/diagnostics``."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import math
import signal
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
import rclpy
from rclpy.clock import Clock
from rclpy.clock import ClockType  # type: ignore[attr-defined]  # where Humble has it
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import try_shutdown

from vpr_compressed.errors import VprError
from vpr_compressed.ros import qos
from vpr_compressed.system.processes import FAILED

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
TOPIC = '/diagnostics'
#: Level, message, and values of one part of what a node says of itself.
Entry = tuple[bytes, str, Mapping[str, Any]]
_POLL_S, _PERIOD_S = 0.1, 1.0


def run_node(
    name: str, make: Callable[[], Any], args: list[str] | None, *, stopped: int = 0
) -> int:
    """
    Run a node until it has done its work or is told to stop.

    SIGINT and SIGTERM stop it, also where SIGINT was ignored by inheritance (background jobs,
    ``nohup``, supervisors): ``ros2 launch`` stops its nodes with SIGINT.

    :param name: of the node, for the log line of an error
    :param make: returns the node, whose ``run`` does the work and returns the exit code
    :param args: command line, as rclpy takes it
    :param stopped: exit code when it was told to stop
    :returns: exit code; 1 after a VprError, which is logged
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # rclpy hears SIGINT anyway, but only between init and shutdown.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    rclpy.init(args=args)
    node = None
    try:
        node = make()
        return int(node.run())
    except VprError as error:
        rclpy.logging.get_logger(name).error(str(error))
        return FAILED
    except (KeyboardInterrupt, ExternalShutdownException):
        return stopped
    except RuntimeError:
        if rclpy.ok():
            raise
        return stopped  # the signal came while rclpy prepared its next wait
    finally:
        if node is not None:
            node.destroy_node()
        try_shutdown()


def spin_until(node: Node, done: Callable[[], bool], limit_s: float = math.inf) -> bool:
    """
    Handle messages until something is true or time is up.

    :param done: asked after every message, and several times a second
    :param limit_s: longest time to wait in seconds
    :returns: whether it is true
    :raises ExternalShutdownException: the process is to end
    """
    end_s = time.monotonic() + limit_s
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        while not done():
            left_s = end_s - time.monotonic()
            if left_s <= 0.0:
                return False
            if not node.context.ok():
                raise ExternalShutdownException
            try:
                executor.spin_once(timeout_sec=min(left_s, _POLL_S))
            except RuntimeError:  # as in run_node
                if node.context.ok():
                    raise
        return True
    finally:
        executor.remove_node(node)
        executor.shutdown(0.0)


def serve(node: Node, kind: Any, name: str, action: Callable[[Any], str]) -> Any:
    """
    Return a new service whose answers say in words what happened.

    :param kind: of std_srvs, ``SetBool`` or ``Trigger``
    :param action: takes a request; what it returns is the answer, a VprError a refusal
    """
    def answer(request: Any, response: Any) -> Any:
        try:
            response.success, response.message = True, action(request)
        except VprError as error:
            response.success, response.message = False, str(error)
        return response
    return node.create_service(kind, name, answer)


class Diagnostics:
    """Publishes the state of a node, whether it is active or not."""

    def __init__(
        self, node: Node, report: Callable[[], Mapping[str, Entry]], hardware_id: str = ''
    ) -> None:
        """
        Start the timer.

        :param node: owner
        :param report: called once a second; returns name of a part -> entry
        :param hardware_id: of all entries
        """
        self._node, self._report, self._hardware_id = node, report, hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, TOPIC, qos.results())
        self._timer = node.create_timer(_PERIOD_S, self.publish, clock=steady_clock())

    def publish(self) -> None:
        """Publish the state now."""
        array = DiagnosticArray(status=[
            diagnostic_status(f'{self._node.get_name()}: {part}', *entry, self._hardware_id)
            for part, entry in self._report().items()])
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
