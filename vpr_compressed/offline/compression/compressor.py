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
Run a recipe: one step after the other, each resumable, on one process or several.

The loop knows neither files of images nor metrics: it works on :class:`Material`, and whoever
calls it measures the student between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
import hashlib
import json
from pathlib import Path
import time
from typing import Any

import numpy as np

from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.compression.recipe import needs_labels
from vpr_compressed.offline.compression.recipe import Recipe
from vpr_compressed.offline.compression.recipe import Sparsify
from vpr_compressed.offline.compression.recipe import TuningOptions
from vpr_compressed.offline.compression.steps import HANDLERS
from vpr_compressed.offline.compression.steps import Work
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.compression.tuning import Material
from vpr_compressed.offline.compression.tuning import Tuner
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.checkpoint import copy_checkpoint
from vpr_compressed.offline.training.checkpoint import read_checkpoint
from vpr_compressed.offline.training.checkpoint import write_checkpoint
from vpr_compressed.offline.training.stopping import StoppedError

#: The newest state, and the one after the last finished step.
CHECKPOINT, FINISHED = 'checkpoint.pt', 'finished.pt'
_KEYS = frozenset({'identity', 'step_ids', 'student', 'records', 'pending', 'seconds'})
_STOPPED = 'stopped; give the same command again to go on'
#: Number of the step, what is done, done and in all.
StepProgress = Callable[[int, str, int, int], None]


@dataclass
class StepRecord:
    """
    What is known of one finished step beside the student.

    :param seconds: time it took, all attempts together
    :param notes: what its handler found: sensitivities, shares, kept channels
    """

    name: str
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


class Compressor:
    """
    One recipe at work on one student.

    :param student: starts as the parent
    :param parent_id: descriptor id of the parent; a checkpoint belongs to one parent
    :param folder: where ``checkpoint.pt`` lies
    """

    def __init__(
        self, student: Student, material: Material, recipe: Recipe, *, parent_id: str,
        folder: Path, progress: StepProgress, stopped: Callable[[], bool]
    ) -> None:
        self.student = student
        self._material, self._recipe, self._folder = material, recipe, folder
        self._progress, self._stopped = progress, stopped
        self._identity = _fingerprint(recipe, parent_id, material)
        self._step_ids = [_step_fingerprint(step) for step in recipe.steps]
        self.records: list[StepRecord] = []
        #: Checkpoint of the step that was interrupted, if any.
        self._pending: dict[str, Any] | None = None
        self._started = time.monotonic()
        self._before = 0.0

    @property
    def done(self) -> int:
        """Number of finished steps."""
        return len(self.records)

    def resume(self) -> bool:
        """
        Load the checkpoint if there is one.

        A recipe may have changed in the steps that are not finished yet, as after a loss that
        became NaN; a step that was interrupted and has changed starts again.

        :returns: whether there was one
        :raises TrainingError: if it is damaged, or of another parent, data or finished steps
        """
        path = self._folder / CHECKPOINT
        state = read_checkpoint(path, _KEYS)
        if state is None:
            return False
        if not self._is_mine(state):
            raise TrainingError(
                f'{path} was made with another recipe, parent or data; use another --out or '
                'remove it')
        number = len(state['records'])
        if state['pending'] is not None and state['step_ids'][number] != ''.join(
                self._step_ids[number:number + 1]):
            state = read_checkpoint(self._folder / FINISHED, _KEYS)
            # An earlier run whose checkpoint was removed may have left it.
            if state is None or not self._is_mine(state):
                return False
        self.student.load_state(state['student'])
        self.records = [StepRecord(**record) for record in state['records']]
        self._pending, self._before = state['pending'], state['seconds']
        return True

    def _is_mine(self, state: dict[str, Any]) -> bool:
        """Tell whether a checkpoint is of this parent, data and finished steps."""
        done = state['step_ids'][:len(state['records'])]
        return bool(state['identity'] == self._identity and done == self._step_ids[:len(done)])

    def run_step(self) -> None:
        """
        Do the next step.

        :raises StoppedError: when asked to stop; the checkpoint holds what was done
        :raises TrainingError: loss not finite, or the data do not fit; the last checkpoint stays
        """
        number = self.done
        step = self._recipe.steps[number]
        handler = HANDLERS[type(step)]
        work = Work(
            self.student, self._material, (self._recipe.seed, number),
            lambda stage, done, total: self._tell(number, stage, done, total))
        self._started = time.monotonic()
        pending, self._pending = self._pending, None
        if pending is None:
            self._before = 0.0
            handler.begin(work, step)
        else:
            work.notes = pending['notes']
        if isinstance(step, TuningOptions) and step.steps > 0:
            self._tune(work, step, pending)
        handler.end(work, step)
        self.records.append(StepRecord(step.NAME, self._seconds(), work.notes))
        self._save(None)

    def _tune(self, work: Work, step: TuningOptions, pending: dict[str, Any] | None) -> None:
        """Train inside a step, from its checkpoint if there is one."""
        number = self.done
        handler = HANDLERS[type(step)]
        tuner = Tuner(
            self.student, self._material, step, work.seed,
            l1=(list(work.notes['shares']), step.l1) if isinstance(step, Sparsify) else ([], 0.0),
            prepare=lambda at: handler.prepare(work, step, at),
            save=lambda: self._save({'notes': work.notes, 'tuner': tuner.state()}))
        if pending is not None:
            tuner.load_state(pending['tuner'])
        complete = tuner.run(
            lambda record: self._tell(
                number, f'training, loss {record.loss:.3f}', record.step, step.steps),
            save_every=self._recipe.save_every, stopped=self._stopped)
        if not complete:
            raise StoppedError(_STOPPED)

    def _tell(self, number: int, stage: str, done: int, total: int) -> None:
        """Report progress; outside training this is also where a step is cancelled."""
        self._progress(number, stage, done, total)
        if not stage.startswith('training') and parallel.any_true(flag=self._stopped()):
            raise StoppedError(_STOPPED)

    def _seconds(self) -> float:
        """Return the time spent on the present step so far."""
        return self._before + time.monotonic() - self._started

    def _save(self, pending: dict[str, Any] | None) -> None:
        """Write the checkpoint; a crash leaves the one before."""
        if not parallel.is_main():
            return
        path = self._folder / CHECKPOINT
        write_checkpoint(path, {
            'identity': self._identity, 'step_ids': self._step_ids,
            'student': self.student.state(),
            'records': [asdict(record) for record in self.records],
            'pending': pending, 'seconds': 0.0 if pending is None else self._seconds()})
        if pending is None:  # last: it may be older than the checkpoint, but not newer
            copy_checkpoint(path, self._folder / FINISHED)


def _fingerprint(recipe: Recipe, parent_id: str, material: Material) -> str:
    """Return what a checkpoint belongs to beside its steps: parent, seed, data and labels."""
    content = {
        'parent': parent_id, 'seed': recipe.seed,
        'labels': [asdict(source) for source in recipe.data] if needs_labels(recipe) else [],
        'views': [len(material.views), material.views.count,
                  hashlib.sha256(np.ascontiguousarray(material.views.parent).data).hexdigest()]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _step_fingerprint(step: Any) -> str:
    """Return a step and all its options as text."""
    return json.dumps({'step': step.NAME, **asdict(step)}, sort_keys=True)
