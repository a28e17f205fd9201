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
The verb ``compress`` as a child process, and what its progress lines say; knows no ROS.

Compression needs torch, a lot of memory and hours. In a process of its own it can be nice to the
robot, be stopped, and be killed for want of memory without taking the node along.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
from dataclasses import dataclass
from dataclasses import field
import json
import os
from pathlib import Path
import queue
import shlex
import signal
import subprocess
import sys
import threading
from typing import Any
from typing import IO

from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError
from vpr_compressed.system import processes
from vpr_compressed.system.terminal import duration

#: Exit codes of the verb, and of the node, besides those of ``system.processes``.
WRITTEN, NOT_ACCEPTED = 0, 3
_KEPT_LINES = 20


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """Parameters of the ``compress`` node: the options of the verb of that name."""

    autostart: bool = option(True, 'start at once; false waits for ~/start')
    recipe: str = option('', 'compression recipe (YAML), e.g. config/recipes/default.yaml')
    images: str = option(
        '', "image folder or ROS bag to compress for, without labels: the robot's own")
    topic: str = option('', 'image topic inside a bag; empty when there is only one')
    data: str = option('', 'folder the paths of a recipe with labels are relative to')
    model: str = option('', 'float model (.vpr) to start from; empty takes what the recipe or '
                        'the verb names')
    out: str = option('', 'folder for the model, the report and the checkpoints')
    seed: int = option(-1, 'seed of everything random; -1 takes that of the recipe', minimum=-1,
                       maximum=2 ** 31 - 1)
    threads: int = option(0, 'CPU threads, 0 for all cores', minimum=0, maximum=256)
    overrides: str = option(
        '', 'values that replace those of the recipe: KEY=VALUE, separated by blanks')
    nice: int = option(10, 'how far the compression stands back behind the other processes of '
                       'the robot', minimum=0, maximum=19)

    def __post_init__(self) -> None:
        """Refuse what the verb could not start with."""
        for name, meaning in (('recipe', 'the steps'), ('out', 'a folder for the results')):
            if not getattr(self, name):
                raise ConfigError(f'parameter {name} is empty; give {meaning}, '
                                  f'e.g. --ros-args -p {name}:=/path')
        if bool(self.images) == bool(self.data):
            raise ConfigError(
                'give either parameter images (folder or bag without labels) or parameter data '
                f'(folder of a recipe with labels); {"both are" if self.data else "neither is"} '
                'given')
        if self.topic and not self.images:
            raise ConfigError('parameter topic names a topic of a bag, but images is empty')
        self.override_list()

    def override_list(self) -> list[str]:
        """
        Return the overrides one by one; quotes keep blanks together, as in a shell.

        :raises ConfigError: one is not KEY=VALUE
        """
        try:
            items = shlex.split(self.overrides)
        except ValueError as error:
            raise ConfigError(f'parameter overrides: {error}; close the quotes') from error
        for item in items:
            if not item.partition('=')[0] or '=' not in item:
                raise ConfigError(f'parameter overrides needs KEY=VALUE, got {item!r}')
        return items


def compress_command(config: CompressConfig) -> list[str]:
    """Return the command line of the verb."""
    command = [sys.executable, '-m', 'vpr_compressed', 'compress', '--progress', 'json']
    for name in ('recipe', 'data', 'images', 'model', 'out'):
        if path := getattr(config, name):
            command += [f'--{name}', str(Path(path).expanduser())]
    for name, without in (('topic', ''), ('seed', -1), ('threads', 0)):
        if (value := getattr(config, name)) != without:
            command += [f'--{name}', str(value)]
    for override in config.override_list():
        command += ['--set', override]
    return command


class CompressProcess:
    """
    A running child; what it prints is collected by threads and fetched without waiting.

    :param command: program and arguments
    :param nice: added to the niceness of this process
    """

    def __init__(self, command: Sequence[str], nice: int) -> None:
        self._process = processes.start(
            command, env=processes.environment(PYTHONUNBUFFERED='1'), nice=nice, text=True,
            encoding='utf-8', errors='replace', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self._process.pid
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (('stdout', self._process.stdout),
                                 ('stderr', self._process.stderr))]
        for reader in self._readers:
            reader.start()

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what came since the last call: ``('stdout' or 'stderr', line)``."""
        while not self._lines.empty():
            yield self._lines.get()

    def exit_code(self) -> int | None:
        """Return how the child ended, or None while it runs or is still being read."""
        if any(reader.is_alive() for reader in self._readers):
            return None
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the child to save a checkpoint and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the child and all it has started; its last checkpoint stays."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for the end, and for what was still to be read."""
        self._process.wait()
        for reader in self._readers:
            reader.join(5.0)

    def _read(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put((name, line.rstrip()))


@dataclass
class Progress:
    """What the child has said about itself."""

    step: str = ''
    stage: str = ''
    index: int = 0
    count: int = 0
    done: int = 0
    total: int = 0
    eta_s: float | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    accepted: bool | None = None
    model: str = ''
    report: str = ''
    reasons: Sequence[str] = ()
    not_understood: int = 0
    complaints: list[str] = field(default_factory=list)

    def understand(self, line: str) -> tuple[str, str]:
        """
        Take in one line of the child's stdout.

        :returns: log level (``debug``, ``info`` or ``warning``) and text for the log
        """
        try:
            event = json.loads(line)
            return self._take(event['event'], event)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            self.not_understood += 1
            return 'warning', f'cannot understand a line of the compression: {line[:200]!r}'

    def complain(self, line: str) -> None:
        """Keep a line of the child's stderr for the case that it fails."""
        if line.strip():
            self.complaints = [*self.complaints, line.strip()][-_KEPT_LINES:]

    def per_cent(self) -> float:
        """Return how much of the present step is done."""
        return 100.0 * self.done / self.total if self.total else 0.0

    def in_words(self) -> str:
        """Return step, share done, and time left in this step."""
        if not self.step:
            return 'starting'
        part = 'stage' if self.stage else 'step'
        left = '' if self.eta_s is None else f', {duration(self.eta_s)} left in this {part}'
        step = f'{self.step} ({self.stage})' if self.stage else self.step
        return f'step {self.index} of {self.count}, {step}: {self.per_cent():.0f} %{left}'

    def failure(self) -> str:
        """Return the most telling line of stderr, or ''."""
        errors = [line for line in self.complaints if line.startswith('error: ')]
        return (errors or self.complaints or [''])[-1].removeprefix('error: ')

    def values(self) -> dict[str, Any]:
        """Return key -> value for ``/diagnostics``; the last row has prefix ``row.``."""
        values: dict[str, Any] = {
            'step': self.step, 'stage': self.stage, 'index': f'{self.index} of {self.count}',
            'done': f'{self.done} of {self.total}', 'per_cent': f'{self.per_cent():.1f}',
            'eta_s': 'unknown' if self.eta_s is None else f'{self.eta_s:.0f}',
            'not_understood': self.not_understood}
        if self.accepted is not None:
            values |= {'accepted': self.accepted, 'model': self.model, 'report': self.report}
        return values | _flat('row', self.row)

    def _take(self, kind: str, event: Mapping[str, Any]) -> tuple[str, str]:
        """Take in one event."""
        if kind == 'progress':
            index, count, done, total = (
                int(event[name]) for name in ('index', 'count', 'done', 'total'))
            eta_s = None if event['eta_s'] is None else max(0.0, float(event['eta_s']))
            self.step, self.stage, self.eta_s = (
                str(event['step']), str(event.get('stage', '')), eta_s)
            # counted from 0 by the verb, from 1 by people
            self.index, self.count, self.done, self.total = index + 1, count, done, total
            return 'progress', self.in_words()
        if kind == 'row':
            self.row = dict(event['row'])
            known = _flat('', self.row)
            size = f', {known["file_bytes"]} bytes' if 'file_bytes' in known else ''
            return 'info', f'{self.row.get("step", self.step)} measured{size}'
        if kind == 'message':
            level = 'warning' if event['level'] == 'warning' else 'info'
            return level, str(event['text'])
        if kind == 'finished':
            accepted, reasons = bool(event['accepted']), [str(item) for item in event['reasons']]
            self.model, self.report = str(event['model'] or ''), str(event['report'] or '')
            self.accepted, self.reasons = accepted, reasons
            return 'debug', json.dumps(event)
        return 'debug', f'unknown event {json.dumps(event)}'


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers and texts of nested mappings with dotted names; lists are left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f'{prefix}.{key}' if prefix else str(key)
        if isinstance(value, Mapping):
            found |= _flat(name, value)
        elif isinstance(value, (bool, int, float, str)):
            found[name] = value
    return found
