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
Training of a student under its constraints: resumable to the step, safe to interrupt.

Everything random depends on the seed and the number of the step alone, so a run that was
killed and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.compression.recipe import DISTILL
from vpr_compressed.offline.compression.recipe import TuningOptions
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.describe import BATCH
from vpr_compressed.offline.training.describe import Describer
from vpr_compressed.offline.training.losses import distill
from vpr_compressed.offline.training.losses import LOSSES
from vpr_compressed.offline.training.losses import targets
from vpr_compressed.offline.training.views import Views
from vpr_compressed.records import DescriptorArray

_WARMUP = 10
_LAST_RATE = 0.02


@dataclass(frozen=True)
class Material:
    """
    What a student learns from.

    :param views: pictures with the parent's descriptors
    :param sampler: pairs of row numbers of the unchanged images, None without labels
    """

    views: Views
    sampler: BatchSampler | None = None


class Tuner:
    """
    One training stretch of one step of a recipe.

    :param student: trained in place
    :param options: how
    :param seed: numbers that make this stretch's batches its own
    :param l1: names of weights whose magnitudes are added to the loss, and by how much
    :raises ConfigError: if the loss needs labels and there are none
    """

    def __init__(
        self, student: Student, material: Material, options: TuningOptions, seed: tuple[int, ...],
        *, l1: tuple[list[str], float] = ([], 0.0)
    ) -> None:
        if options.loss != DISTILL and material.sampler is None:
            raise ConfigError(
                f'loss {options.loss!r} needs labels, and these images have none; use loss '
                f'{DISTILL!r}, or give --data with a recipe that lists "data"')
        self._student, self._material, self._options = student, material, options
        self._seed, self._l1 = seed, l1
        self._sampler = None if options.loss == DISTILL else material.sampler
        self._named = student.network.named_tensors()
        self._device = next(iter(self._named.values())).device
        student.network.freeze_layers(_layer_number(student, options.freeze_until))
        self._optimizer = torch.optim.Adam(self._groups())
        self._describer = parallel.wrap(Describer(student.network))
        self._bank = torch.from_numpy(
            targets(material.views.bank, student.spec.dimension)).to(self._device)
        self.step = 0

    def run(
        self, report: Callable[[int, float], None], *, stopped: Callable[[], bool],
        prepare: Callable[[int], None] = lambda _step: None, save: Callable[[], None],
        save_every: int
    ) -> bool:
        """
        Train until the last step, or until ``stopped`` says so.

        :param report: called with the number of steps done and the loss
        :param prepare: called before every step, may add constraints
        :param save: called every ``save_every`` steps and when stopped
        :returns: whether the last step was done
        :raises TrainingError: if the loss is not finite; nothing is saved then
        """
        while self.step < self._options.steps:
            if parallel.any_true(flag=stopped()):
                self._check_finite()
                save()
                return False
            prepare(self.step)
            loss = self._learn()
            self.step += 1
            report(self.step, loss)
            if self.step % save_every == 0 and self.step < self._options.steps:
                self._check_finite()
                save()
        self._student.write()
        self._check_finite()
        return True

    def state(self) -> dict[str, Any]:
        """Return step and optimiser for a checkpoint."""
        return {'step': self.step, 'optimizer': self._optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state`; the student must have been restored before."""
        self.step = int(state['step'])
        self._optimizer.load_state_dict(state['optimizer'])

    def _learn(self) -> float:
        """Take one optimiser step and return the loss."""
        self._set_rates()
        self._student.write()
        loss = self._loss()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f'the loss became {value} at step {self.step}; the last good checkpoint is '
                'kept: resume with smaller learning rates')
        self._student.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        names, strength = self._l1
        for name in names:
            gradient = self._named[name].grad
            if gradient is not None:
                gradient.add_(self._named[name].detach().sign(), alpha=strength)
        self._student.constraints.pull(self._named)
        self._optimizer.step()
        self._student.write()
        return value

    def _check_finite(self) -> None:
        """Refuse to save what the optimiser has broken; the loss only shows it a step later."""
        for name, parameter in self._named.items():
            if not bool(torch.isfinite(parameter).all()):
                raise TrainingError(
                    f'{name} became NaN or infinite by step {self.step}; the last good '
                    'checkpoint is kept: resume with smaller learning rates')
        with torch.no_grad():
            value = float(self._loss())
        if not math.isfinite(value):
            raise TrainingError(
                f'the loss became {value} by step {self.step}; the last good checkpoint is '
                'kept: resume with smaller learning rates')

    def _loss(self) -> Tensor:
        """Return the loss of the next batch."""
        options, material = self._options, self._material
        if self._sampler is None:
            rows = np.random.default_rng([*self._seed, self.step]).choice(
                len(material.views), min(options.batch, len(material.views)), replace=False)
            found = self._describe(rows)
            wanted = torch.from_numpy(
                targets(material.views.parent[rows], self._student.spec.dimension))
            return distill(found, wanted.to(self._device), self._bank)
        sampler = self._sampler
        # Another step of the recipe sees other pairs.
        pairs = sampler.pairs(self._seed[-1] * 1_000_003 + self.step)[:options.batch // 2]
        shift = len(material.views) - material.views.count  # to the changed views, if any
        rows = np.array([a for a, _ in pairs] + [b + shift for _, b in pairs])
        same, different = sampler.masks(pairs)
        found = self._describe(rows)
        return LOSSES[options.loss](
            found @ found.T, torch.from_numpy(same).to(self._device),
            torch.from_numpy(different).to(self._device))

    def _describe(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the student's descriptors of some views, this process's share and all others."""
        mine = list(parallel.share_of(len(rows)))
        images = torch.from_numpy(self._material.views.batch(rows[mine]))
        found: Tensor = self._describer(images)
        return parallel.gather(found, mine, len(rows))

    def _groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: trunk, assignment, the rest of the head, and codebooks."""
        options, constraints = self._options, self._student.constraints
        groups: dict[str, list[nn.Parameter]] = {
            'trunk': [], 'bias': [], 'assignment': [], 'head': [], 'codebook': []}
        for name, parameter in self._named.items():
            if constraints.free(name) and parameter.requires_grad:
                groups[_group(name)].append(parameter)
        for name, parameters in constraints.trained():
            if self._named[name].requires_grad:
                moving = name in constraints.latent
                groups[_group(name) if moving else 'codebook'] += parameters
        rates = {'trunk': options.lr_trunk, 'bias': options.lr_bias,
                 'assignment': options.lr_assignment, 'head': options.lr_head,
                 'codebook': options.lr_codebook}
        return [{'params': params, 'lr': rates[key], 'peak': rates[key]}
                for key, params in groups.items() if params]

    def _set_rates(self) -> None:
        """Warm up linearly, then fall along a cosine almost to zero."""
        rise = min(1.0, (self.step + 1) / _WARMUP)
        fall = _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (
            1.0 + math.cos(math.pi * self.step / self._options.steps))
        for group in self._optimizer.param_groups:
            group['lr'] = group['peak'] * rise * fall


def describe_views(
    student: Student, views: Views, rows: NDArray[np.int64], *, exact: bool = False,
    report: Callable[[int, int], None] = lambda _done, _total: None
) -> DescriptorArray:
    """
    Return descriptors of views without training on them.

    :param exact: compute in float32 as the run-time engines do, not in bfloat16
    :param report: called with views done and in all
    :returns: float32 ``(len(rows), D)``
    """
    describer = Describer(student.network, exact=exact)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            images = torch.from_numpy(views.batch(rows[start:start + BATCH]))
            parts.append(describer(images).cpu().numpy())
            report(min(start + BATCH, len(rows)), len(rows))
    return np.concatenate(parts).astype(np.float32)


def _group(name: str) -> str:
    """Return which learning rate a tensor has."""
    if name == 'netvlad.assignment.weight':
        return 'assignment'
    if name.startswith(('netvlad.', 'projection.')):
        return 'head'
    return 'bias' if name.endswith('.bias') else 'trunk'


def _layer_number(student: Student, name: str) -> int:
    """Return how many trunk layers come before the first trained one."""
    names = [layer.name for layer in student.spec.layers]
    if name and name not in names:
        raise ConfigError(
            f'freeze_until names {name!r}, which is no layer of {student.spec.trunk}; '
            f'layers: {", ".join(names)}')
    return names.index(name) if name else 0
