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


"""What all nodes share as programs: signals, errors, exit codes, waiting."""

from __future__ import annotations

from collections.abc import Callable
import signal
import threading
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from signals import sigint

from vpr_compressed.errors import ConfigError
from vpr_compressed.ros.program import run_node
from vpr_compressed.ros.program import spin_until


class Made:
    """A node that does what the test says."""

    def __init__(self, work: Callable[[], int]) -> None:
        """Take the work."""
        self.run = work
        self.destroyed = False

    def destroy_node(self) -> None:
        """Remember it."""
        self.destroyed = True


def stop() -> int:
    """Be told to stop."""
    raise ExternalShutdownException


def stop_between_two_waits() -> int:
    """Be told to stop where rclpy notices it late."""
    rclpy.shutdown()
    raise RuntimeError('failed to initialize wait set: the given context is not valid')


@pytest.mark.parametrize(('work', 'code'), [
    (lambda: 3, 3), (stop, 130), (stop_between_two_waits, 130)])
def test_a_node_is_destroyed_however_it_ends(work: Callable[[], int], code: int) -> None:
    """And rclpy is shut down, so that the next one can start in this process."""
    for _ in range(2):
        made = Made(work)
        assert run_node('made_up', lambda made=made: made, [], stopped=130) == code
        assert made.destroyed
        assert not rclpy.ok()


def test_an_error_is_one_line_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Whether it comes from the constructor or from the work."""
    def fail() -> Any:
        raise ConfigError('no such folder')

    for make in (fail, lambda: Made(fail)):
        assert run_node('made_up', make, []) == 1
        said = capfd.readouterr().err
        assert '[made_up]: no such folder' in said
        assert 'Traceback' not in said


def test_a_mistake_in_a_node_is_no_end_as_asked_for() -> None:
    """Its traceback is wanted."""
    def fail() -> int:
        raise RuntimeError('a mistake')

    made = Made(fail)
    with pytest.raises(RuntimeError, match='a mistake'):
        run_node('made_up', lambda: made, [])
    assert made.destroyed
    assert not rclpy.ok()


@pytest.mark.parametrize('default', [True, False])
def test_ctrl_c_is_heard_from_the_start_whatever_was_inherited(default: bool) -> None:
    """Rclpy hears it only between init and shutdown: not while the node closes its map."""
    heard: list[object] = []
    with sigint(default=default):
        run_node('made_up', lambda: Made(
            lambda: heard.append(signal.getsignal(signal.SIGINT)) or 0), [])
        heard.append(signal.getsignal(signal.SIGINT))
    assert heard == [signal.default_int_handler] * 2


def test_waiting_ends_with_the_event_the_time_or_the_process() -> None:
    """What comes meanwhile is handled."""
    context = Context()
    rclpy.init(context=context, args=[])
    node = Node('waiting', context=context)
    ticks: list[int] = []
    node.create_timer(0.01, lambda: ticks.append(1))
    assert spin_until(node, lambda: len(ticks) >= 3)
    assert not spin_until(node, lambda: False, 0.05)
    assert spin_until(node, lambda: True, -1.0)
    threading.Timer(0.05, context.shutdown).start()
    with pytest.raises(ExternalShutdownException):
        spin_until(node, lambda: False)
