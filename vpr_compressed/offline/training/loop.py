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
Fine-tuning of a network on labelled images: resumable, repeatable, safe to interrupt.

The loop knows no dataset and no metric: pairs come from a :class:`BatchSampler`, and what is
good is decided by a ``validate`` function the caller passes in. Under ``torchrun`` all processes
run this loop in step: each loads and runs its share of a batch, the first one alone writes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import Batch
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.describe import describe_images
from vpr_compressed.offline.training.describe import Describer
from vpr_compressed.offline.training.labels import TrainingSet
from vpr_compressed.offline.training.losses import LOSSES
from vpr_compressed.offline.training.train_config import TrainConfig
from vpr_compressed.records import DescriptorArray

#: Image files, and '' or 'dark' for their lighting -> descriptors ``(N, D)``.
Describe = Callable[[Sequence[Path], str], DescriptorArray]
#: Measures a network by its descriptors: name -> recall in [0, 1].
Validate = Callable[[Describe], Mapping[str, float]]


@dataclass(frozen=True)
class TrainRecord:
    """One line of the training log; ``recalls`` is empty between validations."""

    step: int
    loss: float
    recalls: Mapping[str, float]
    best_score: float
    is_best: bool = False


class Trainer:
    """
    Fine-tune a network and keep the best average of its weights.

    :param network: starting point; trained in place
    :param data: labelled images
    :param loader: reads and augments them
    :param config: recipe
    :param folder: where ``checkpoint.pt`` and ``log.jsonl`` live
    :param validate: compares checkpoints; called in every process, as describing is shared work
    :raises TrainingError: if there are more processes than pairs in a batch
    """

    def __init__(
        self, network: VprNetwork, data: TrainingSet, loader: ImageLoader, config: TrainConfig,
        folder: Path, validate: Validate
    ) -> None:
        self._device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self._network = network.to(self._device).to(memory_format=torch.channels_last)
        self._data, self._loader, self._config = data, loader, config
        self._folder, self._validate = folder, validate
        self._sampler = BatchSampler(data, config)
        network.freeze_layers(_layer_number(network, config.freeze_until))
        self._rows = parallel.pair_rows(config.pairs)
        self._describer = parallel.wrap(Describer(network))
        self._average = {name: value.detach().clone() for name, value in _state(network).items()}
        self._optimizer = torch.optim.Adam(_parameter_groups(network, config))
        self.step = 0
        self.best_score = -math.inf
        self.best: dict[str, NDArray[np.float32]] = network.tensors()
        self._stop = False

    @property
    def network(self) -> VprNetwork:
        """The network in training."""
        return self._network

    def stop(self) -> None:
        """Ask :meth:`run` to finish the current step, save and return."""
        self._stop = True

    def run(self, report: Callable[[TrainRecord], None]) -> bool:
        """
        Train until the last step of the recipe or :meth:`stop`.

        :param report: called after every step, in every process
        :returns: whether the run is complete
        :raises TrainingError: if the loss is not finite; the last checkpoint stays
        """
        with ThreadPoolExecutor(1, thread_name_prefix='next-batch') as pool:
            if self.step == 0 and self.best_score == -math.inf:
                report(self._checkpoint(math.nan))
            coming = self._request(pool)
            while coming is not None and not parallel.any_true(flag=self._stop):
                loss = self._learn(coming.result())
                self.step += 1
                if self.step % self._config.mine_every == 0:
                    self._mine()
                coming = self._request(pool)
                if self.step % self._config.validate_every == 0 or coming is None:
                    report(self._checkpoint(loss))
                else:
                    report(TrainRecord(self.step, loss, {}, self.best_score))
            if coming is not None:
                coming.cancel()
                self._save()
        return self.step >= self._config.steps

    def describe(self, paths: Sequence[Path], change: str = '') -> DescriptorArray:
        """Return descriptors of image files with the averaged weights."""
        trained = {name: value.detach().clone() for name, value in _state(self._network).items()}
        _set_state(self._network, self._average)
        try:
            return describe_images(self._network, self._loader, paths, change)
        finally:
            _set_state(self._network, trained)

    def resume(self) -> bool:
        """
        Load ``checkpoint.pt`` if there is one.

        :returns: whether there was one
        :raises TrainingError: if it is damaged or belongs to another recipe
        """
        state = parallel.from_main(self._stored)
        if state is None:
            return False
        _set_state(self._network, state['network'])
        self._average = {name: value.to(self._device) for name, value in state['average'].items()}
        self._optimizer.load_state_dict(state['optimizer'])
        self._sampler.hard = state['hard'].cpu().numpy()
        self.step, self.best_score = state['step'], state['best_score']
        self.best = {name: value.cpu().numpy() for name, value in state['best'].items()}
        return True

    def _stored(self) -> dict[str, Any] | None:
        """Return the content of ``checkpoint.pt``, on the CPU, or None."""
        path = self._folder / 'checkpoint.pt'
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
            same = state['recipe'] == _fingerprint(self._config)
        except Exception as error:  # torch raises half a dozen types for damaged files
            raise TrainingError(
                f'cannot read {path} ({error}); remove it to start again') from error
        if not same:
            raise TrainingError(
                f'{path} was made with another recipe; use another --out or remove it')
        return state

    def _request(self, pool: ThreadPoolExecutor) -> Future[Batch] | None:
        """Start loading the batch of the current step, or return None after the last."""
        if self.step >= self._config.steps:
            return None
        pairs = self._sampler.pairs(self.step)
        return pool.submit(self._load, pairs, [self._config.seed, self.step])

    def _load(self, pairs: list[tuple[int, int]], seed: list[int]) -> Batch:
        """Load one batch; runs beside the training of the one before."""
        paths = [(self._data.paths[a], self._data.paths[b]) for a, b in pairs]
        images = self._loader.pairs(paths, seed, self._rows)
        return Batch(images, *self._sampler.masks(pairs))

    def _learn(self, batch: Batch) -> float:
        """Take one optimiser step and return the loss."""
        _set_learning_rates(self._optimizer, self.step, self._config)
        descriptors = parallel.gather(
            self._describer(torch.from_numpy(batch.images)), self._rows, len(batch.same))
        loss = LOSSES[self._config.loss](
            descriptors @ descriptors.T, torch.from_numpy(batch.same).to(self._device),
            torch.from_numpy(batch.different).to(self._device))
        value = float(loss.detach())
        if parallel.any_true(flag=not math.isfinite(value)):
            raise TrainingError(
                f'the loss became {value} at step {self.step}; the last good checkpoint is kept '
                f'in {self._folder}: resume with a smaller learning rate')
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        # A short run must not remember its random start: the decay grows with the steps.
        decay = min(self._config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, weight in _state(self._network).items():
                self._average[name].lerp_(weight, 1.0 - decay)
        return value

    def _mine(self) -> None:
        """Search the hard negatives of every image whose places do not look alike."""
        for images in self._sampler.mined_sources():
            paths = [self._data.paths[index] for index in images]
            self._sampler.set_hard(
                images, describe_images(self._network, self._loader, paths))
        # Every process chooses the pairs of a batch by this table: it must be one table.
        self._sampler.hard = parallel.from_main(lambda: self._sampler.hard)

    def _checkpoint(self, loss: float) -> TrainRecord:
        """Validate, keep the best, save, and return the log line."""
        found = dict(self._validate(self.describe))
        recalls = parallel.from_main(lambda: found)
        score = float(np.mean(list(recalls.values()))) if recalls else float(self.step)
        is_best = score > self.best_score
        if is_best:
            self.best_score = score
            names = _state(self._network)
            trained = {name: value.detach().clone() for name, value in names.items()}
            _set_state(self._network, self._average)
            self.best = self._network.tensors()
            _set_state(self._network, trained)
        self._save()
        record = TrainRecord(self.step, loss, recalls, self.best_score, is_best)
        if parallel.is_main():
            with (self._folder / 'log.jsonl').open('a', encoding='utf-8') as stream:
                stream.write(json.dumps(asdict(record)) + '\n')
        return record

    def _save(self) -> None:
        """Write ``checkpoint.pt``; a crash leaves the one before."""
        if parallel.is_main():
            part = self._folder / 'checkpoint.pt.part'
            torch.save({
                'recipe': _fingerprint(self._config), 'step': self.step,
                'best_score': self.best_score, 'network': _state(self._network),
                'average': self._average, 'optimizer': self._optimizer.state_dict(),
                'hard': torch.from_numpy(self._sampler.hard),
                'best': {name: torch.from_numpy(value) for name, value in self.best.items()},
            }, part)
            part.replace(self._folder / 'checkpoint.pt')
        parallel.barrier()  # a process that ended early would have torchrun end this one


def _layer_number(network: VprNetwork, name: str) -> int:
    """Return how many trunk layers come before the first trained one."""
    names = [layer.name for layer in network.spec.layers]
    if not name:
        return 0
    if name not in names:
        raise ConfigError(
            f'freeze_until names {name!r}, which is no layer of {network.spec.trunk}; '
            f'layers: {", ".join(names)}')
    return names.index(name)


def _state(network: VprNetwork) -> dict[str, Tensor]:
    """Return the network's parameters by module name."""
    return dict(network.named_parameters())


def _set_state(network: VprNetwork, values: Mapping[str, Tensor]) -> None:
    """Copy parameters into the network."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(values[name])


def _parameter_groups(network: VprNetwork, config: TrainConfig) -> list[dict[str, Any]]:
    """Return Adam's groups: trunk, assignment weights, and the rest of the head."""
    trunk = [value for value in network.convs.parameters() if value.requires_grad]
    assignment = [network.netvlad.assignment.weight]
    head = [network.netvlad.assignment.bias, network.netvlad.centers,
            *network.projection.parameters()]
    rates = (config.lr_trunk, config.lr_assignment, config.lr_head)
    return [{'params': params, 'lr': rate, 'peak': rate}
            for params, rate in zip((trunk, assignment, head), rates) if params]


def _set_learning_rates(
    optimizer: torch.optim.Optimizer, step: int, config: TrainConfig
) -> None:
    """Warm up linearly, then fall along a cosine to a twentieth."""
    rise = min(1.0, (step + 1) / config.warmup)
    fall = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * step / max(1, config.steps)))
    for group in optimizer.param_groups:
        group['lr'] = group['peak'] * rise * fall


def _fingerprint(config: TrainConfig) -> str:
    """Return the recipe as text; a checkpoint only continues under the same one."""
    return json.dumps(asdict(config), sort_keys=True)
