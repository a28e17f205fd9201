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

"""Nodes as programs: signals, exit codes, and waiting while messages are handled."""

from __future__ import annotations

from collections.abc import Callable
import math
import signal
import time
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import try_shutdown

from vpr_compressed.errors import VprError
from vpr_compressed.system.processes import FAILED

_POLL_S = 0.1


class Program(Protocol):
    """A node that is run as a program."""

    def run(self) -> int:
        """Do the work and return the exit code."""

    def destroy_node(self) -> None:
        """Release what the node holds, and leave the graph."""


def run_node(
    name: str, make: Callable[[], Program], args: list[str] | None, *, stopped: int = 0
) -> int:
    """
    Run a node until it has done its work or is told to stop.

    SIGINT and SIGTERM stop it, also where SIGINT was ignored by inheritance (background jobs,
    ``nohup``, supervisors): ``ros2 launch`` stops its nodes with SIGINT.

    :param name: of the node, for the log line of an error
    :param make: returns the node
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
        return node.run()
    except VprError as error:
        rclpy.logging.get_logger(name).error(str(error))
        return FAILED
    except (KeyboardInterrupt, ExternalShutdownException):
        return stopped
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
    if done():
        return True
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
            executor.spin_once(timeout_sec=min(left_s, _POLL_S))
        return True
    finally:
        executor.remove_node(node)
        executor.shutdown(0.0)
