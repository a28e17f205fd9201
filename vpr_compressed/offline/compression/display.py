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

"""What a user, or a program, sees of a compression: bars and lines, or JSON."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path
import sys
import time
from typing import Any

from vpr_compressed.offline.accuracy.acceptance import Verdict
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.training import parallel
from vpr_compressed.system.terminal import bar


class Display(ABC):
    """
    Shows what happens, in the main process; a subclass says how.

    :param steps: names of the steps of the recipe
    """

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps = steps

    @abstractmethod
    def progress(self, at: int, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a stage of step ``at`` are done."""

    @abstractmethod
    def row(self, row: StepRow) -> None:
        """Show a measured network."""

    def close(self) -> None:  # noqa: B027  (only a bar has something to do)
        """Leave the terminal as it was."""

    def finish(self, verdict: Verdict, model: Path | None, report: Path) -> None:
        """Say how it ended; ``model`` is None if it was not accepted."""
        for sentence in verdict.reasons:
            parallel.tell(f'not accepted: {sentence}')
        if model is not None:
            parallel.tell(f'wrote {model} ({model.stat().st_size:,} bytes)')
        parallel.tell(f'report: {report}')


class BarDisplay(Display):
    """A bar per stage on the terminal, and a line per measured network."""

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(steps)
        self._bar: Any = None
        self._label = ''

    def progress(self, at: int, stage: str, done: int, total: int) -> None:
        kind, _, detail = stage.partition(', ')
        label = f'step {at + 1} of {len(self._steps)}, {self._steps[at]}: {kind}'
        if label != self._label:
            self.close()
            self._label = label
            self._bar = bar(label, total, initial=max(0, done - 1))
        self._bar.set_postfix_str(detail, refresh=False)
        self._bar.update(done - self._bar.n)

    def row(self, row: StepRow) -> None:
        self.close()
        parallel.tell(in_words(row))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._label = None, ''


class JsonDisplay(Display):
    """One JSON object a line on stdout."""

    def __init__(self, steps: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(steps)
        self._clock = clock
        self._stage: tuple[int, str] = (-1, '')
        self._start = (0.0, 0)
        self._shown = -1e9

    def progress(self, at: int, stage: str, done: int, total: int) -> None:
        now, kind = self._clock(), stage.partition(', ')[0]
        if (at, kind) != self._stage:
            self._stage, self._start, self._shown = (at, kind), (now, done - 1), -1e9
        if now - self._shown < 0.5 and done < total:
            return
        self._shown = now
        since, first = self._start
        rate = (now - since) / max(1, done - first)
        eta = round(rate * (total - done), 1) if done > first + 1 else None
        self._write({
            'event': 'progress', 'index': at, 'count': len(self._steps), 'step': self._steps[at],
            'stage': stage, 'done': done, 'total': total, 'eta_s': eta})

    def row(self, row: StepRow) -> None:
        self._write({'event': 'row', 'row': row.to_json()})

    def finish(self, verdict: Verdict, model: Path | None, report: Path) -> None:
        self._write({
            'event': 'finished', 'accepted': verdict.accepted,
            'model': None if model is None else str(model), 'report': str(report),
            'reasons': list(verdict.reasons)})
        super().finish(verdict, model, report)

    @staticmethod
    def _write(values: dict[str, Any]) -> None:
        sys.stdout.write(f'{json.dumps(values)}\n')
        sys.stdout.flush()


def in_words(row: StepRow) -> str:
    """Return a measured network as one line."""
    parts = [f'{row.file_bytes / 1e6:.2f} MB ({row.ratio:.1f}x)', f'{row.zeros:.0f} % zeros']
    if row.recall is not None and row.mean_average_precision is not None:
        parts += [f'recall@1 {row.recall:.3f}', f'mAP {row.mean_average_precision:.3f}']
    if row.agreement is not None:
        parts.append(f'agreement {row.agreement.top1:.3f}')
    if row.cosine is not None:
        parts.append(f'cosine {row.cosine:.4f}')
    parts.append(f'{row.latency_p50_ms:.1f} ms')
    return f'{row.step}: ' + ', '.join(parts)
