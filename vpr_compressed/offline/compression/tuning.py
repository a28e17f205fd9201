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

"""The training of a student under its constraints, on pictures its parent has described."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.offline.compression.recipe import DISTILL
from vpr_compressed.offline.compression.recipe import TuningOptions
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.loop import TrainingLoop
from vpr_compressed.offline.training.losses import distill
from vpr_compressed.offline.training.losses import LOSSES
from vpr_compressed.offline.training.losses import targets
from vpr_compressed.offline.training.views import Views


@dataclass(frozen=True)
class Material:
    """
    What a student learns from.

    :param views: pictures with the parent's descriptors
    :param sampler: pairs of row numbers of the unchanged images, None without labels
    """

    views: Views
    sampler: BatchSampler | None = None


class Tuner(TrainingLoop):
    """
    One training stretch of one step of a recipe.

    :param student: trained in place
    :param options: how
    :param seed: numbers that make this stretch's batches its own
    :param l1: names of weights whose magnitudes are added to the loss, and by how much
    :param prepare: called with the number of every step before it, may add constraints
    :param save: called when it is time, but not behind the last step, and when stopped
    :raises ConfigError: if the loss needs labels and there are none
    """

    def __init__(
        self, student: Student, material: Material, options: TuningOptions, seed: tuple[int, ...],
        *, l1: tuple[list[str], float] = ([], 0.0),
        prepare: Callable[[int], None] = lambda _step: None,
        save: Callable[[], None] = lambda: None
    ) -> None:
        if options.loss != DISTILL and material.sampler is None:
            raise ConfigError(
                f'loss {options.loss!r} needs labels, and these images have none; use loss '
                f'{DISTILL!r}, or give --data with a recipe that lists "data"')
        self._student, self._material, self._options = student, material, options
        self._seed, self._l1, self._prepare, self._write_checkpoint = seed, l1, prepare, save
        self._sampler = None if options.loss == DISTILL else material.sampler
        self._named = student.network.named_tensors()
        super().__init__(
            student.network, first=options.freeze_until, rates={
                'trunk': options.lr_trunk, 'bias': options.lr_bias,
                'assignment': options.lr_assignment, 'head': options.lr_head,
                'codebook': options.lr_codebook},
            steps=options.steps, warmup=10, last_rate=0.02)
        self._bank = torch.from_numpy(
            targets(material.views.bank, student.spec.dimension)).to(self._device)

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
        options, views = self._options, self._material.views
        if self._sampler is None:
            rows = np.random.default_rng([*self._seed, step]).choice(
                len(views), min(options.batch, len(views)), replace=False)
            wanted = torch.from_numpy(targets(views.parent[rows], self._student.spec.dimension))
            return distill(self._describe(rows), wanted.to(self._device), self._bank)
        # Another step of the recipe sees other pairs.
        pairs = self._sampler.pairs(self._seed[-1] * 1_000_003 + step)[:options.batch // 2]
        shift = len(views) - views.count  # to the changed views, if any
        rows = np.array([a for a, _ in pairs] + [b + shift for _, b in pairs])
        same, different = self._sampler.masks(pairs)
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
