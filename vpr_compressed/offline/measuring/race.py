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
Time models and engines against each other on this machine: fairly, that is in turns.

Each entrant has a process of its own, so that memory can be told apart, and each describes one
image before any describes the next: what disturbs the machine disturbs all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import numpy as np

from vpr_compressed.errors import VprError
from vpr_compressed.offline.measuring.model_process import ModelProcess
from vpr_compressed.offline.network.engines import ALL_ENGINES

#: Seconds between two turns, so that threads of the last one have gone to sleep.
_REST_S = 0.005
#: Rounds that warm up and are not counted.
_WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """
    One model on one engine.

    :param name: for the table
    :param engine: one of :data:`.engines.ALL_ENGINES`, or ``auto``
    :param threads: CPU threads, 0 for all cores
    """

    name: str
    model: Path
    engine: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Finisher:
    """
    What was measured of an entrant.

    :param error: why it could not run, empty if it could; then all numbers are 0
    :param precision: of the weights
    :param integers: whether activations are rounded, so that convolutions run in integers
    :param p50_ms: from a 640x480 image in memory to its descriptor, median
    :param p95_ms: 95th percentile of the same
    :param cpu_ms: CPU time of all threads, median
    :param resident_bytes: memory gained by library, model and first image
    :param peak_bytes: the most it was on the way there
    :param load_s: seconds from the file to the first descriptor
    :param descriptors: of the reference images, float32 ``(4, D)``
    """

    entrant: Entrant
    error: str = ''
    engine: str = ''
    precision: str = ''
    integers: bool = False
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    cpu_ms: float = 0.0
    file_bytes: int = 0
    resident_bytes: int = 0
    peak_bytes: int = 0
    load_s: float = 0.0
    descriptors: tuple[tuple[float, ...], ...] = ()

    def cosine_to(self, other: Finisher) -> float | None:
        """Return the lowest cosine to another's descriptors, None if they do not compare."""
        mine, theirs = np.array(self.descriptors), np.array(other.descriptors)
        if mine.shape != theirs.shape or not mine.size:
            return None
        return float((mine * theirs).sum(axis=1).min())

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without descriptors."""
        values = {name: value for name, value in vars(self).items()
                  if name not in ('entrant', 'descriptors')}
        return {'name': self.entrant.name, 'model': self.entrant.model.name,
                'threads': self.entrant.threads, **values}


def race(
    entrants: Sequence[Entrant], *, rounds: int,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _total: None
) -> list[Finisher]:
    """
    Let all entrants describe the same image in turns.

    :param rounds: images each of them describes
    :param progress: called with what is done, done and in all
    :returns: in the order of the entrants
    """
    with ExitStack() as stack:
        started = []
        for number, entrant in enumerate(entrants):
            # One after the other: two that load at once would disturb each other's seconds.
            started.append(_Runner(entrant))
            stack.callback(started[-1].close)
            progress('loading', number + 1, len(entrants))
        runners = [runner for runner in started if runner.process is not None]
        for number in range(rounds + _WARM_UP):
            # Whoever comes after a slow one has cold caches; so each time another is first.
            start = number % max(1, len(runners))
            for runner in runners[start:] + runners[:start]:
                runner.run(keep=number >= _WARM_UP)
                time.sleep(_REST_S)
            progress('racing', number + 1, rounds + _WARM_UP)
        return [runner.finish() for runner in started]


def table(results: Sequence[Finisher]) -> str:
    """Return the results as text."""
    head = ('model', 'engine', 'threads', 'ms', 'p95', 'faster', 'file MB', 'adds MB', 'peak MB',
            'load s', 'cosine')
    first = next((result for result in results if not result.error), None)
    rows: list[tuple[str, ...]] = [head]
    notes = []
    for result in results:
        entrant = result.entrant
        name = (entrant.name, result.engine or entrant.engine, str(entrant.threads or 'all'))
        if result.error or first is None:
            rows.append((*name, *('-',) * (len(head) - 3)))
            notes.append(f'{entrant.name} on {entrant.engine}: {result.error}')
            continue
        cosine = result.cosine_to(first)
        rows.append((
            *name, f'{result.p50_ms:.1f}', f'{result.p95_ms:.1f}',
            f'{first.p50_ms / result.p50_ms:.2f}x', f'{result.file_bytes / 1e6:.1f}',
            f'{result.resident_bytes / 1e6:.0f}', f'{result.peak_bytes / 1e6:.0f}',
            f'{result.load_s:.2f}', '-' if cosine is None else f'{cosine:.4f}'))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ['  '.join(
        cell.ljust(width) if number < 2 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows]
    return '\n'.join([*lines, *notes])


class _Runner:
    """An entrant in its process, if it can run, with the times of its images."""

    def __init__(self, entrant: Entrant) -> None:
        self._entrant, self._error = entrant, ''
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self._descriptors: list[list[float]] = []
        self.process: ModelProcess | None = None
        try:
            self.process = ModelProcess(
                entrant.model, engine=entrant.engine, threads=entrant.threads,
                name=entrant.engine)
            self._descriptors = self.process.ask('describe made-up')
        except VprError as error:
            self.close()
            self.process, self._error = None, str(error)

    def run(self, *, keep: bool) -> None:
        """
        Describe one image.

        :raises VprError: if the process has died
        """
        assert self.process is not None  # noqa: S101  (only those that can run are asked to)
        found = self.process.ask('time')
        if keep:
            self._wall.append(found['wall_ms'])
            self._cpu.append(found['cpu_ms'])

    def finish(self) -> Finisher:
        """Return what was measured."""
        entrant = self._entrant
        if self.process is None:
            return Finisher(entrant=entrant, error=self._error)
        cost = self.process.cost
        p50, p95 = np.percentile(self._wall, [50, 95]) if self._wall else (0.0, 0.0)
        return Finisher(
            entrant=entrant, engine=cost.engine, precision=cost.precision,
            integers=cost.rounds_activations and ALL_ENGINES.kind(cost.engine).integers,
            p50_ms=float(p50), p95_ms=float(p95),
            cpu_ms=float(np.median(self._cpu)) if self._cpu else 0.0,
            file_bytes=entrant.model.stat().st_size, resident_bytes=cost.resident_bytes,
            peak_bytes=cost.peak_bytes, load_s=cost.load_s,
            descriptors=tuple(tuple(row) for row in self._descriptors))

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()
