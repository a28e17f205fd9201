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

The loop knows neither files of images nor metrics: it works on :class:`Views`, and whoever
calls it measures the student between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
import hashlib
import json
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.compression.recipe import DISTILL
from vpr_compressed.offline.compression.recipe import needs_labels
from vpr_compressed.offline.compression.recipe import Recipe
from vpr_compressed.offline.compression.recipe import Sparsify
from vpr_compressed.offline.compression.recipe import TuningOptions
from vpr_compressed.offline.compression.steps import HANDLERS
from vpr_compressed.offline.compression.steps import Work
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.loop import read_checkpoint
from vpr_compressed.offline.training.loop import TrainingLoop
from vpr_compressed.offline.training.loop import write_checkpoint
from vpr_compressed.offline.training.losses import distill
from vpr_compressed.offline.training.losses import loss_of_pairs
from vpr_compressed.offline.training.losses import targets
from vpr_compressed.offline.training.parallel import StoppedError
from vpr_compressed.offline.training.views import Views

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
        self, student: Student, views: Views, recipe: Recipe, *, parent_id: str,
        folder: Path, progress: StepProgress, stopped: Callable[[], bool]
    ) -> None:
        self.student = student
        self._views, self._recipe, self._folder = views, recipe, folder
        self._progress, self._stopped = progress, stopped
        self._identity = _fingerprint(recipe, parent_id, views)
        self._step_ids = [json.dumps({'step': step.NAME, **asdict(step)}, sort_keys=True)
                          for step in recipe.steps]
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
            self.student, self._views, (self._recipe.seed, number),
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
            self.student, self._views, step, work.seed,
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
        state = {
            'identity': self._identity, 'step_ids': self._step_ids,
            'student': self.student.state(),
            'records': [asdict(record) for record in self.records],
            'pending': pending, 'seconds': 0.0 if pending is None else self._seconds()}
        write_checkpoint(self._folder / CHECKPOINT, state)
        if pending is None:  # last: it may be older than the checkpoint, but not newer
            write_checkpoint(self._folder / FINISHED, state)


def _fingerprint(recipe: Recipe, parent_id: str, views: Views) -> str:
    """Return what a checkpoint belongs to beside its steps: parent, seed, data and labels."""
    content = {
        'parent': parent_id, 'seed': recipe.seed,
        'labels': [asdict(source) for source in recipe.data] if needs_labels(recipe) else [],
        'views': [len(views), views.count,
                  hashlib.sha256(np.ascontiguousarray(views.parent).data).hexdigest()]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Tuner(TrainingLoop):
    """
    One training stretch of one step of a recipe.

    :param student: trained in place
    :param views: pictures with the descriptors of the parent, and pairs of them for labels
    :param options: how
    :param seed: numbers that make this stretch's batches its own
    :param l1: names of weights whose magnitudes are added to the loss, and by how much
    :param prepare: called with the number of every step before it, may add constraints
    :param save: called when it is time, but not behind the last step, and when stopped
    :raises ConfigError: if the loss needs labels and there are none
    """

    def __init__(
        self, student: Student, views: Views, options: TuningOptions, seed: tuple[int, ...],
        *, l1: tuple[list[str], float] = ([], 0.0),
        prepare: Callable[[int], None] = lambda _step: None,
        save: Callable[[], None] = lambda: None
    ) -> None:
        if options.loss != DISTILL and views.sampler is None:
            raise ConfigError(
                f'loss {options.loss!r} needs labels, and these images have none; use loss '
                f'{DISTILL!r}, or give --data with a recipe that lists "data"')
        self._student, self._views, self._options = student, views, options
        self._seed, self._l1, self._prepare, self._write_checkpoint = seed, l1, prepare, save
        self._sampler = None if options.loss == DISTILL else views.sampler
        self._named = student.network.named_tensors()
        super().__init__(
            student.network, first=options.freeze_until, rates={
                'trunk': options.lr_trunk, 'bias': options.lr_bias,
                'assignment': options.lr_assignment, 'head': options.lr_head,
                'codebook': options.lr_codebook},
            steps=options.steps, warmup=10, last_rate=0.02)
        self._bank = torch.from_numpy(
            targets(views.bank, student.spec.dimension)).to(self._device)

    def state(self) -> dict[str, Any]:
        """Return step and optimiser for a checkpoint."""
        return {'step': self.step, 'optimizer': self._optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state`; the student must have been restored before."""
        self.step = int(state['step'])
        self._optimizer.load_state_dict(state['optimizer'])

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield network parameters, and for shared ones what is trained in their place."""
        constraints = self._student.constraints
        for name, parameter in self._named.items():
            if name not in constraints.codebooks and parameter.requires_grad:
                yield name, parameter
        for name, parameters in constraints.trained():
            if self._named[name].requires_grad:
                moving = name in constraints.latent
                yield from ((name if moving else 'codebook', value) for value in parameters)

    def _save(self) -> None:
        """Hand over to the caller, who saves the student as well; a finished step is its own."""
        if self.step < self._options.steps:
            self._write_checkpoint()

    def _learn(self) -> float:
        """Bring the weights in line with constraints that may be new, then take a step."""
        self._prepare(self.step)
        self._student.write()
        return super()._learn()

    def _backward(self, loss: Tensor) -> None:
        """Add the gradients of the magnitudes, and pass all on to what is trained."""
        super()._backward(loss)
        names, strength = self._l1
        for name in names:
            gradient = self._named[name].grad
            if gradient is not None:
                gradient.add_(self._named[name].detach().sign(), alpha=strength)
        self._student.constraints.pull(self._named)

    def _after_step(self) -> None:
        """Bring the weights in line with the constraints."""
        self._student.write()

    def _loss(self, step: int) -> Tensor:
        """Return the loss of a batch: to the parent, or to labels."""
        options, views = self._options, self._views
        if self._sampler is None:
            rows = np.random.default_rng([*self._seed, step]).choice(
                len(views), min(options.batch, len(views)), replace=False)
            wanted = torch.from_numpy(targets(views.parent[rows], self._student.spec.dimension))
            return distill(self._describe(rows), wanted.to(self._device), self._bank)
        # Another step of the recipe sees other pairs.
        pairs = self._sampler.pairs(self._seed[-1] * 1_000_003 + step)[:options.batch // 2]
        shift = len(views) - views.count  # to the changed views, if any
        rows = np.array([a for a, _ in pairs] + [b + shift for _, b in pairs])
        return loss_of_pairs(options.loss, self._describe(rows), *self._sampler.masks(pairs))

    def _describe(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the student's descriptors of some views, this process's share and all others."""
        mine = list(parallel.share_of(len(rows)))
        images = torch.from_numpy(self._views.batch(rows[mine]))
        found: Tensor = self._describer(images)
        return parallel.gather(found, mine, len(rows))
