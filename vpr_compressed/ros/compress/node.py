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
The node ``compress``: make a smaller model from the robot's own images, offline.

It runs the verb ``compress`` beside itself and shows on ``/diagnostics`` and in the log how far
it is. Stopped at any time, the same parameters go on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
import sys
from typing import Any

from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_srvs.srv import Trigger

from vpr_compressed.errors import VprError
from vpr_compressed.ros.compress.child import compress_command
from vpr_compressed.ros.compress.child import CompressConfig
from vpr_compressed.ros.compress.child import CompressProcess
from vpr_compressed.ros.compress.child import NOT_ACCEPTED
from vpr_compressed.ros.compress.child import Progress
from vpr_compressed.ros.compress.child import WRITTEN
from vpr_compressed.ros.parameters import read_config
from vpr_compressed.ros.program import Diagnostics
from vpr_compressed.ros.program import Entry
from vpr_compressed.ros.program import ERROR
from vpr_compressed.ros.program import OK
from vpr_compressed.ros.program import run_node
from vpr_compressed.ros.program import serve
from vpr_compressed.ros.program import spin_until
from vpr_compressed.ros.program import steady_clock
from vpr_compressed.ros.program import WARN
from vpr_compressed.system.processes import FAILED
from vpr_compressed.system.processes import INTERRUPTED

_POLL_S = 0.1
_LOG_S = 30.0
#: How long the last words may take to reach those who listen.
_SETTLE_S = 0.5


class CompressNode(Node):
    """Starts the child, reads it, and answers for it."""

    def __init__(
        self, command: Callable[[CompressConfig], list[str]] = compress_command, **options: Any
    ) -> None:
        """
        Read the parameters and start, unless ``autostart`` is false.

        :param command: makes the command line of the child
        :param options: arguments of ``rclpy.node.Node``
        :raises ConfigError: a parameter makes no sense
        """
        super().__init__('compress', **options)
        self._child: CompressProcess | None = None
        self._cancelled = False
        #: Exit code of the node once the child has ended.
        self.exit_status: int | None = None
        self.progress = Progress()
        self.config = read_config(self, CompressConfig)
        self._command = command
        self._go_on = f'the same parameters go on from the checkpoint in {self.config.out}'
        self._level, self._message = OK, 'waiting for ~/start'
        self._diagnostics = Diagnostics(self, lambda: {'compression': self._entry()})
        serve(self, Trigger, '~/cancel', self._on_cancel)
        serve(self, Trigger, '~/start', self._on_start)
        self.create_timer(_POLL_S, self._poll, clock=steady_clock())
        if self.config.autostart:
            self._start()

    def run(self) -> int:
        """Handle messages until the child has ended; return the exit code of the node."""
        try:
            spin_until(self, lambda: self.exit_status is not None)
            self._diagnostics.publish()
            spin_until(self, lambda: False, _SETTLE_S)
        except (KeyboardInterrupt, ExternalShutdownException):
            self._stop()
        return INTERRUPTED if self.exit_status is None else self.exit_status

    def _stop(self) -> None:
        """Ask the child to end and wait for it; a further ctrl-C ends it at once."""
        if self._child is None or self.exit_status is not None:
            return
        self._cancelled = True
        self._child.terminate()
        try:
            self._child.wait()
        except KeyboardInterrupt:
            self._child.kill()
            self._child.wait()
        self._poll()

    def _start(self) -> None:
        command = self._command(self.config)
        self.get_logger().info(f'nice {self.config.nice}: {" ".join(command)}')
        self._child = CompressProcess(command, self.config.nice)
        self._message = 'starting'

    def _poll(self) -> None:
        """Read what the child has said, and whether it has ended."""
        if self._child is None or self.exit_status is not None:
            return
        code = self._child.exit_code()  # first: what it said before it ended is then all there
        for stream, line in self._child.lines():
            if stream == 'stderr':
                self.progress.complain(line)
                self.get_logger().debug(line)
            else:
                self._log(*self.progress.understand(line))
        self._message = self.progress.in_words()
        if self._cancelled:
            self._level, self._message = WARN, f'stopping: {self._message}'
        if code is not None:
            self._ended(code)

    def _ended(self, code: int) -> None:
        """Say how it went and set the exit code."""
        self.exit_status, self._level, self._message = self._outcome(code)
        log = self.get_logger()
        if self._level == OK:
            log.info(self._message)
        elif self._level == WARN:
            log.warning(self._message)
        else:
            for line in self.progress.complaints:
                log.warning(line)
            log.error(self._message)

    def _outcome(self, code: int) -> tuple[int, bytes, str]:
        """Return exit code of the node, level, and message, from the exit code of the child."""
        progress = self.progress
        if code == WRITTEN and progress.accepted:
            return WRITTEN, OK, f'wrote {progress.model}, report {progress.report}'
        if code == NOT_ACCEPTED:
            reasons = '; '.join(progress.reasons) or 'see the report'
            return NOT_ACCEPTED, WARN, (
                f'not accepted: {reasons}; no model written, report {progress.report}')
        if code == INTERRUPTED or self._cancelled:
            return INTERRUPTED, WARN, f'cancelled at {progress.in_words()}; {self._go_on}'
        return FAILED, ERROR, f'failed: {self._reason(code)}'

    def _reason(self, code: int) -> str:
        """Return why the child failed, in words."""
        said = self.progress.failure()
        if code < 0:
            return (f'the compression was killed by signal {-code} at {self.progress.in_words()}; '
                    f'if memory ran out, lower the batch of the recipe; {self._go_on}')
        if code == WRITTEN:
            return 'the compression ended without saying that it finished' + (said and f': {said}')
        return said or f'the compression ended with exit code {code} and no message'

    def _entry(self) -> Entry:
        """Return the state for ``/diagnostics``."""
        values = {**self.progress.values(), 'out': self.config.out}
        if self._child is not None:
            values['pid'] = self._child.pid
        return self._level, self._message, values

    def _log(self, level: str, text: str) -> None:
        """Write one line; progress only now and then."""
        logger = self.get_logger()
        if level == 'warning':
            logger.warning(text)
        elif level == 'progress':
            logger.info(text, throttle_duration_sec=_LOG_S)
        elif level == 'info':
            logger.info(text)
        else:
            logger.debug(text)

    def _on_start(self, _request: Any) -> str:
        if self._child is not None:
            raise VprError(f'started already: {self._message}')
        self._start()
        return f'started, writing to {self.config.out}'

    def _on_cancel(self, _request: Any) -> str:
        if self._child is None or self.exit_status is not None:
            raise VprError(f'nothing runs: {self._message}')
        if self._cancelled:
            self._child.kill()
            return f'ended at once; {self._go_on}'
        self._cancelled = True
        self._child.terminate()
        return ('stopping after the present optimiser step; the checkpoint stays in '
                f'{self.config.out} and the same parameters go on from it; cancel again to end '
                'at once')


def main(args: list[str] | None = None) -> int:
    """
    Compress once and exit.

    :param args: command line, as rclpy takes it
    :returns: 0 written, 3 not accepted, 130 cancelled or interrupted, 1 after an error
    """
    return run_node('compress', CompressNode, args, stopped=INTERRUPTED)


if __name__ == '__main__':
    sys.exit(main())
