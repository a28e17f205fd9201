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
Start processes of this package, follow how far they are, and make sure that they are gone.

A worker is ``python -m MODULE ARGUMENTS``, the arguments one JSON value. It prints JSON objects,
one a line: ``{"done": 3, "total": 10}`` now and then, ``{"result": ...}`` when it is ready, and
one more result for every line of JSON that it is given on standard input, with which it ends. If
it cannot go on, the last line of its standard error says why, and its status is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import closing
from contextlib import suppress
from dataclasses import is_dataclass
import json
import os
from pathlib import Path
from queue import Empty
from queue import SimpleQueue
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
_POLL_S = 0.2
#: Seconds a process is given to end by itself, and after it was asked to.
_END_LIMIT_S, STOP_LIMIT_S = 10.0, 5.0
#: Runs before the program itself, where a fork of a threaded process could not: sets what ctrl-C
#: means and how nice it is, and has Linux send a signal when the parent dies, even by SIGKILL.
_GUARD = """
import ctypes, os, signal, sys
parent, nice, last = map(int, sys.argv[1:4])
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.nice(nice)
if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(1, last)
if os.getppid() != parent:
    sys.exit(130)
os.execv(sys.argv[4], sys.argv[4:])
"""


class MeasurementCancelledError(VprError):
    """The caller wanted a measurement to end."""


def never() -> bool:
    """Return False: nobody wants to cancel."""
    return False


def silent(done: int, total: int) -> None:
    """Report nothing."""
    del done, total


def environment(**changes: str) -> dict[str, str]:
    """
    Return the environment in which a child imports this very package, installed or not.

    :param changes: further variables
    """
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, **changes, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}


def start(
    command: Sequence[str], *, env: dict[str, str] | None = None, nice: int = 0,
    last_signal: signal.Signals = signal.SIGTERM, **streams: Any
) -> subprocess.Popen[Any]:
    """
    Start a child in a session of its own: ctrl-C reaches this process alone, which ends it.

    :param env: :func:`environment` if left out
    :param nice: added to the niceness of this process
    :param last_signal: what the child gets when this process dies (Linux only)
    :param streams: further arguments of ``subprocess.Popen``; it reads nothing by default
    """
    guard = [sys.executable, '-ISc', _GUARD, str(os.getpid()), str(nice), str(int(last_signal))]
    return subprocess.Popen(  # noqa: S603
        [*guard, *command], env=environment() if env is None else env, start_new_session=True,
        **{'stdin': subprocess.DEVNULL, **streams})


def stop(child: subprocess.Popen[Any], limit_s: float = STOP_LIMIT_S) -> None:
    """End a child and all it has started, first politely; does nothing if it has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(limit_s)


class Worker:
    """
    A module of this package that works in a process of its own, until it is closed.

    :param module: its dotted name
    :param arguments: plain data, records and paths; likewise all questions and results
    :param name: for messages, such as ``the process that measured small.vpr``
    :param log: file for what it says on standard error; None keeps it for the reason only
    """

    def __init__(
        self, module: str, arguments: object, *, name: str, log: Path | None = None
    ) -> None:
        self._name, self._log, self._busy = name, log, True
        # Into a file: a pipe that nobody reads would block a child with much to complain about.
        self._errors: IO[bytes] = (
            tempfile.TemporaryFile() if log is None else log.open('w+b'))  # noqa: SIM115
        self._child = start(
            [sys.executable, '-m', module, json.dumps(arguments, default=plain)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        Thread(target=self._read, args=(self._child.stdout,), daemon=True).start()

    def result(
        self, *, cancelled: Callable[[], bool] = never, progress: Progress = silent,
        limit_s: float | None = None
    ) -> Any:
        """
        Wait for the next result and return it; plain data.

        :param cancelled: asked several times a second
        :param progress: called with what is done and all there is to do
        :param limit_s: longest time to wait, None for ever
        :raises MeasurementCancelledError: if ``cancelled`` says so, or the worker was interrupted
        :raises VprError: the reason of the worker, how it ended, or that the time is up
        """
        end_s = None if limit_s is None else time.monotonic() + limit_s
        while True:
            if cancelled():
                raise MeasurementCancelledError('the measurement was cancelled')
            if end_s is not None and time.monotonic() > end_s:
                raise VprError(f'{self._name} did not finish within {limit_s:g} s')
            try:
                line = self._lines.get(timeout=_POLL_S)
            except Empty:
                continue
            if line is None:
                raise self._ended()
            values = _parse(line)
            if 'result' in values:
                self._busy = False
                return values['result']
            if 'done' in values:
                progress(values['done'], values['total'])

    def ask(self, question: object, **waiting: Any) -> Any:
        """
        Hand over a question and return its result.

        :param waiting: as for :meth:`result`, which also says what is raised
        """
        self._busy = True
        assert self._child.stdin is not None  # noqa: S101  (it was started with a pipe)
        with suppress(OSError):  # it has ended, and result() says how
            self._child.stdin.write(json.dumps(question, default=plain) + '\n')
            self._child.stdin.flush()
        return self.result(**waiting)

    def close(self) -> None:
        """End the worker: at once while it works, else by itself."""
        if self._child.stdin is not None:
            with suppress(OSError):
                self._child.stdin.close()
        if not self._busy:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_LIMIT_S)
        stop(self._child)
        self._errors.close()

    def _read(self, stream: IO[str]) -> None:
        """Put what the worker prints into a queue, and None behind the last line."""
        try:
            with stream:
                for line in stream:
                    self._lines.put(line)
        finally:
            self._lines.put(None)

    def _ended(self) -> VprError:
        """Return why there is no result: the worker's own words, or how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_LIMIT_S)
        self._errors.seek(0)
        status, text = self._child.poll(), self._errors.read().decode(errors='replace')
        if status in (INTERRUPTED, -signal.SIGINT):
            return MeasurementCancelledError('the measurement was interrupted')
        lines = [line for line in text.splitlines() if line.strip()]
        if status == FAILED and lines:
            return VprError(lines[-1])
        said = f'; it said: {lines[-1]}' if lines else ''
        hint = '' if self._log is None else f'; its messages are in {self._log}'
        if not status:  # or it still runs, and has closed its output
            return VprError(f'{self._name} gave no answer{said}{hint}')
        if status > 0:
            return VprError(f'{self._name} ended with status {status}{said}{hint}')
        memory = '; is there too little memory?' if status == -signal.SIGKILL else ''
        return VprError(f'{self._name} was ended by signal {-status}{said}{memory}{hint}')


def run_worker(module: str, arguments: object, *, name: str, **waiting: Any) -> Any:
    """
    Return the one result of a worker that is asked nothing.

    :param waiting: as for :meth:`Worker.result`, which also says what is raised
    """
    with closing(Worker(module, arguments, name=name)) as worker:
        return worker.result(**waiting)


def serve(work: Callable[[Any], Iterator[Any]]) -> int:
    """
    Be a worker.

    :param work: takes the arguments and yields the results; it may read :func:`questions`
    :returns: exit status, the reason on standard error if it is 1
    """
    try:
        for result in work(json.loads(sys.argv[1])):
            _say({'result': result})
    except VprError as error:
        sys.stderr.write(f'{error}\n')
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # nobody listens any more; Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return 0


def plain(value: Any) -> object:
    """Return what JSON does not know: a record as its fields, a path as text."""
    return vars(value) if is_dataclass(value) else os.fspath(value)


def questions() -> Iterator[Any]:
    """Yield what a worker is asked, until nobody asks any more."""
    for line in sys.stdin:
        yield json.loads(line)


def talker() -> Progress:
    """Return a worker's progress function: it prints a line now and then, and the last one."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= INTERVAL_S:
            last = time.monotonic()
            _say({'done': done, 'total': total})
    return progress


def _say(values: dict[str, Any]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(values, default=plain) + '\n')
    sys.stdout.flush()


def _parse(line: str) -> dict[str, Any]:
    """Return one line of a worker; {} for what a library has printed."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
