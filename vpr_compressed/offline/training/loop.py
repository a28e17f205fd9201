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
The one loop of all training: rates, finite losses, stopping, checkpoints and when to save them.

It knows no data and no metric. A subclass says what a batch is and what its loss is, and may act
around each optimiser step: keep zeros zero, average weights, search hard negatives. Under
``torchrun`` all processes run the loop in step. Everything random depends on the seed and the
number of the step alone, so a run that was killed and resumed ends with the same weights as one
that was not. Nothing in a checkpoint is ever run.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import math
from pathlib import Path
from typing import Any
import zipfile

import torch
from torch import nn
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.describe import Describer
from vpr_compressed.system.files import whole_file

_REMEDY = 'the last good checkpoint is kept: resume with smaller learning rates'


@dataclass(frozen=True)
class TrainRecord:
    """One line of the training log; ``recalls`` is empty between validations."""

    step: int
    loss: float
    recalls: Mapping[str, float] = field(default_factory=dict)
    best_score: float = -math.inf
    is_best: bool = False


class TrainingLoop(ABC):
    """
    One run of Adam over a network, which is trained in place.

    :param first: first trunk layer that is trained, '' for all
    :param rates: full learning rate of each part: trunk, bias (of the trunk; else as trunk),
        assignment, head, and parts of the subclass
    :param warmup: steps until the full rates
    :param last_rate: share of them that is left at the end
    :raises ConfigError: if the network has no layer ``first``
    """

    def __init__(
        self, network: VprNetwork, *, first: str, rates: Mapping[str, float], steps: int,
        warmup: int, last_rate: float
    ) -> None:
        self.network = network
        self.step = 0
        self._steps, self._warmup, self._last_rate = steps, warmup, last_rate
        _freeze_until(network, first)
        self._optimizer = torch.optim.Adam(_groups(self._trained(), rates))
        self._describer = parallel.wrap(Describer(network))
        self._device = network.projection.weight.device
        self._learnt_here = False

    def run(
        self, report: Callable[[TrainRecord], None], *, save_every: int,
        stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """
        Train until the last step, or until ``stopped`` says so in any process.

        :param report: called after every step, in every process
        :param save_every: steps between two checkpoints
        :returns: whether the last step was done
        :raises TrainingError: if loss or weights are not finite; the last checkpoint stays
        """
        while self.step < self._steps:
            if parallel.any_true(flag=stopped()):
                self._check_finite()
                self._save()
                return False
            loss = self._learn()
            self.step += 1
            self._after_step()
            if self.step % save_every == 0 or self.step == self._steps:
                self._check_finite()
                report(self._keep(loss))
            else:
                report(TrainRecord(self.step, loss))
        return True

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained with the name of its tensor, or of one of the rates."""
        for name, value in self.network.named_tensors().items():
            if value.requires_grad:
                yield name, value

    @abstractmethod
    def _loss(self, step: int) -> Tensor:
        """Return the loss of the batch of a step, the same in every process."""

    @abstractmethod
    def _save(self) -> None:
        """Write a checkpoint."""

    @abstractmethod
    def _after_step(self) -> None:
        """Act on the weights the optimiser left; the step is counted already."""

    def _keep(self, loss: float) -> TrainRecord:
        """Act every ``save_every`` steps and after the last one; return the record."""
        self._save()
        return TrainRecord(self.step, loss)

    def _learn(self) -> float:
        """Take one optimiser step and return the loss before it."""
        rise = min(1.0, (self.step + 1) / self._warmup)
        fall = self._last_rate + (1.0 - self._last_rate) * 0.5 * (
            1.0 + math.cos(math.pi * self.step / self._steps))
        for group in self._optimizer.param_groups:
            group['lr'] = group['peak'] * rise * fall
        loss = self._loss(self.step)
        value = self._checked(loss, 'at')
        self.network.zero_grad(set_to_none=True)
        self._backward(loss)
        self._optimizer.step()
        self._learnt_here = True
        return value

    def _backward(self, loss: Tensor) -> None:
        """Compute the gradients of what is trained."""
        loss.backward()  # type: ignore[no-untyped-call]

    def _check_finite(self) -> None:
        """Refuse to keep what the optimiser has broken; the loss only shows it a step later."""
        broken = next((name for name, value in self.network.named_tensors().items()
                       if not bool(torch.isfinite(value).all())), '')
        if parallel.any_true(flag=bool(broken)):
            raise TrainingError(
                f'{broken or "a weight"} became NaN or infinite by step {self.step}; {_REMEDY}')
        if self._learnt_here:
            with torch.no_grad():
                self._checked(self._loss(self.step - 1), 'by')

    def _checked(self, loss: Tensor, when: str) -> float:
        """Return a loss as a number, or raise if it is none in any process."""
        value = float(loss.detach())
        if parallel.any_true(flag=not math.isfinite(value)):
            raise TrainingError(f'the loss became {value} {when} step {self.step}; {_REMEDY}')
        return value


def _freeze_until(network: VprNetwork, name: str) -> None:
    """Exclude the first layers of a trunk from training."""
    names = [layer.name for layer in network.spec.layers]
    if name and name not in names:
        raise ConfigError(
            f'freeze_until names {name!r}, which is no layer of {network.spec.trunk}; '
            f'layers: {", ".join(names)}')
    network.freeze_layers(names.index(name) if name else 0)


def _groups(
    trained: Iterable[tuple[str, nn.Parameter]], rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return Adam's groups, one for each rate that anything has."""
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in trained:
        groups[name if name in rates else _rate_of(name, rates)].append(parameter)
    return [{'params': found, 'lr': rates[name], 'peak': rates[name]}
            for name, found in groups.items() if found]


def _rate_of(name: str, rates: Mapping[str, float]) -> str:
    """Return which learning rate a tensor has."""
    if name == 'netvlad.assignment.weight':
        return 'assignment'
    if name.startswith(('netvlad.', 'projection.')):
        return 'head'
    return 'bias' if name.endswith('.bias') and 'bias' in rates else 'trunk'


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """
    Write tensors and plain data whole, or leave the checkpoint before.

    :raises TrainingError: if the disk is full
    """
    try:
        with whole_file(path) as part:
            torch.save(dict(state), part)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        raise TrainingError(
            f'cannot write the checkpoint to {path.parent} ({error}); free space there, then '
            'give the same command again') from error


def read_checkpoint(path: Path, keys: frozenset[str]) -> dict[str, Any] | None:
    """
    Return the content of a checkpoint, on the CPU, or None if there is none.

    :param keys: what it must have
    :raises TrainingError: if it is damaged; torch itself does not look at the checksums it wrote
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f'checksum of {damaged} differs')  # noqa: TRY301
        state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
        if missing := keys - set(state):
            raise KeyError(f'no {", ".join(sorted(missing))}')  # noqa: TRY301
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise TrainingError(
            f'cannot read {path} ({error}); remove it to start again') from error
    return state
