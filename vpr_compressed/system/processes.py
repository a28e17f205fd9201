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

"""Start a worker of this package, follow how far it is, and make sure that it is gone."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
import json
import os
from pathlib import Path
from queue import Empty
from queue import SimpleQueue
import re
import signal
import subprocess
import sys
import tempfile
from threading import Thread
import time
from typing import Any
from typing import IO

from vpr_compressed.errors import VprError

#: Images done, images in all.
Progress = Callable[[int, int], None]
#: Exit statuses besides 0.
FAILED, INTERRUPTED = 1, 130
#: Seconds between two lines of progress.
INTERVAL_S = 0.5
_LINE = re.compile(r'done (\d+) of (\d+)')
_POLL_S = 0.2
_STOP_LIMIT_S = 5.0


class MeasurementCancelledError(VprError):
    """The caller wanted a measurement to end."""


def never() -> bool:
    """Return False: nobody wants to cancel."""
    return False


def silent(done: int, total: int) -> None:
    """Report nothing."""
    del done, total


def talker() -> Progress:
    """Return a worker's progress function: it prints a line now and then, and the last one."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= INTERVAL_S:
            last = time.monotonic()
            # Fails when nobody listens any more: then there is no reason to go on either.
            sys.stdout.write(f'done {done} of {total}\n')
            sys.stdout.flush()
    return progress


def run_worker(
    module: str, arguments: Sequence[str], *, model: Path, stdin: IO[bytes] | None = None,
    cancelled: Callable[[], bool] = never, progress: Progress = silent
) -> None:
    """
    Run a module of this package in a process of its own until it ends.

    :param module: its dotted name; prints ``done N of M`` and, before status 1, the reason
    :param model: what it measures, for error messages
    :param stdin: file with its input, None for none
    :param cancelled: asked several times a second; the worker ends when it says so
    :raises MeasurementCancelledError: if it was cancelled or interrupted
    :raises VprError: the text of the worker, or how it ended
    """
    command = [sys.executable, '-m', module, *arguments]
    # Into a file: a pipe that nobody reads would block a child with much to complain about.
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(  # noqa: S603
                command, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, text=True, env=environment()) as child:
            try:
                status = _follow(child, cancelled, progress)
            finally:
                _stop(child)
        if status in (INTERRUPTED, -signal.SIGINT):  # a terminal sends ctrl-C to both
            raise MeasurementCancelledError('the measurement was interrupted')
        if status:
            errors.seek(0)
            raise VprError(_reason(status, errors.read().decode(errors='replace'), model))


def _follow(
    child: subprocess.Popen[str], cancelled: Callable[[], bool], progress: Progress
) -> int:
    """Pass on the progress of a child until it ends; return its exit status."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    assert child.stdout is not None  # noqa: S101  (it was started with a pipe)
    Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
    while True:
        if cancelled():
            raise MeasurementCancelledError('the measurement was cancelled')
        try:
            line = lines.get(timeout=_POLL_S)
        except Empty:
            continue
        if line is None:
            return child.wait()
        if found := _LINE.match(line):
            progress(int(found[1]), int(found[2]))


def _read(stream: IO[str], lines: SimpleQueue[str | None]) -> None:
    """Put the lines of a child into a queue, and None behind the last."""
    try:
        for line in stream:
            lines.put(line)
    finally:
        lines.put(None)


def _stop(child: subprocess.Popen[str]) -> None:
    """End a child that still runs, at first politely."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _reason(status: int, text: str, model: Path) -> str:
    """Return why a child failed: its own words, or how it ended."""
    lines = [line for line in text.splitlines() if line.strip()]
    if status == 1 and lines:
        return lines[-1]
    said = f'; it said: {lines[-1]}' if lines else ''
    if status < 0:
        memory = '; is there too little memory?' if status == -signal.SIGKILL else ''
        return f'the process that measured {model} was ended by signal {-status}{said}{memory}'
    return f'the process that measured {model} ended with status {status}{said}'


def environment(**changes: str) -> dict[str, str]:
    """
    Return the environment in which a child imports this very package, installed or not.

    :param changes: further variables
    """
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, **changes, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}


_WAIT_S = 10.0


class Lane:
    """
    A process that prints a line of JSON when it is ready, and one for every line it is given.

    It is to end with its standard input.

    :param module: what ``python -m`` runs
    :param arguments: of that module
    :param name: for messages
    :param log: file its messages on standard error go to; None drops them
    """

    def __init__(
        self, module: str, arguments: Sequence[str], *, name: str, log: Path | None = None
    ) -> None:
        self._name, self._log = name, log
        with Path(os.devnull if log is None else log).open('w', encoding='utf-8') as messages:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, '-m', module, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True,
                env=environment())
        self.facts: dict[str, Any] = {}

    def load(self) -> None:
        """Wait until the process is ready; that it cannot be is a fact as well."""
        try:
            self.facts = self.answer()
        except VprError as error:
            self.facts = {'error': str(error)}

    def ask(self, line: str) -> dict[str, Any]:
        """
        Hand over a line and return the answer.

        :raises VprError: if the process has died
        """
        assert self._process.stdin is not None  # noqa: S101  (it was started with a pipe)
        try:
            self._process.stdin.write(f'{line}\n')
            self._process.stdin.flush()
        except OSError as error:
            raise VprError(self._ended()) from error
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """
        Return the next line of the process.

        :raises VprError: if the process has died
        """
        assert self._process.stdout is not None  # noqa: S101  (it was started with a pipe)
        line = self._process.stdout.readline()
        if not line:
            raise VprError(self._ended())
        values: dict[str, Any] = json.loads(line)
        return values

    def _ended(self) -> str:
        """Return how the process ended, in words."""
        status = self._process.wait(_WAIT_S)
        how = f'signal {-status}' if status < 0 else f'status {status}'
        hint = '; is there too little memory?' if status == -9 else (
            '' if self._log is None else f'; its messages are in {self._log}')
        return f'{self._name} ended with {how}{hint}'

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # it may be gone already
                    stream.close()
        try:
            self._process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
