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

Pairs come from a :class:`BatchSampler`, and what is good is decided by a ``validate`` function the
caller passes in. Of several processes each loads and runs its share of a batch, the first one
alone writes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
import copy
from dataclasses import asdict
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.accuracy.validation import Describe
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.describe import describe_images
from vpr_compressed.offline.training.labels import TrainingSet
from vpr_compressed.offline.training.loop import read_checkpoint
from vpr_compressed.offline.training.loop import TrainingLoop
from vpr_compressed.offline.training.loop import TrainRecord
from vpr_compressed.offline.training.loop import write_checkpoint
from vpr_compressed.offline.training.losses import loss_of_pairs
from vpr_compressed.offline.training.train_config import TrainConfig
from vpr_compressed.records import DescriptorArray

#: Measures a network by its descriptors: name -> recall in [0, 1].
Validate = Callable[[Describe], Mapping[str, float]]
#: Normalised images, and anchor and positive of every pair.
Batch = tuple[NDArray[np.float32], list[tuple[int, int]]]
_CHECKPOINT = 'checkpoint.pt'
_KEYS = frozenset({'recipe', 'step', 'best_score', 'network', 'average', 'adam', 'hard', 'best'})


class Trainer(TrainingLoop):
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
        self._rows = parallel.pair_rows(config.pairs)
        super().__init__(
            network, first=config.freeze_until, rates={
                'trunk': config.lr_trunk, 'assignment': config.lr_assignment,
                'head': config.lr_head},
            steps=config.steps, warmup=config.warmup, last_rate=0.05)
        self._data, self._loader, self._config = data, loader, config
        self._folder, self._validate = folder, validate
        self._sampler = BatchSampler(
            data, pairs=config.pairs, hard_share=config.hard_share, seed=config.seed)
        self._average = copy.deepcopy(network.state_dict())
        self.best_score = -math.inf
        self.best: dict[str, NDArray[np.float32]] = network.tensors()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='next-batch')
        #: Number of a step -> own images and all pairs: those of the last step and of the next.
        self._batches: dict[int, Future[Batch]] = {}

    def train(
        self, report: Callable[[TrainRecord], None], *,
        stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Validate the start, then train as :meth:`run` does; once only."""
        with self._pool:
            if self.step == 0 and self.best_score == -math.inf:
                report(self._keep(math.nan))
            return self.run(report, save_every=self._config.validate_every, stopped=stopped)

    def describe(self, paths: Sequence[Path], change: str = '') -> DescriptorArray:
        """Return descriptors of image files with the averaged weights."""
        with self._averaged():
            return describe_images(self.network, self._loader, paths, change)

    def resume(self) -> bool:
        """
        Load ``checkpoint.pt`` if there is one.

        :returns: whether there was one
        :raises TrainingError: if it is damaged or belongs to another recipe
        """
        path = self._folder / _CHECKPOINT
        state = parallel.from_main(lambda: read_checkpoint(path, _KEYS))
        if state is None:
            return False
        if state['recipe'] != _fingerprint(self._config):
            raise TrainingError(
                f'{path} was made with another recipe; use another --out or remove it')
        self.network.load_state_dict(state['network'])
        self._optimizer.load_state_dict(state['adam'])
        self._average = {name: value.to(self._device) for name, value in state['average'].items()}
        self._sampler.hard = state['hard'].cpu().numpy()
        self.step, self.best_score = state['step'], state['best_score']
        self.best = {name: value.cpu().numpy() for name, value in state['best'].items()}
        return True

    def _loss(self, step: int) -> Tensor:
        """Return the loss of a batch of labelled pairs."""
        images, pairs = self._request(step).result()
        descriptors = parallel.gather(
            self._describer(torch.from_numpy(images)), self._rows, 2 * len(pairs))
        return loss_of_pairs(self._config.loss, descriptors, *self._sampler.masks(pairs))

    def _after_step(self) -> None:
        """Average the weights, mine hard negatives when it is time, and load the next batch."""
        # A short run must not remember its random start: the decay grows with the steps.
        decay = min(self._config.average, self.step / (9 + self.step))
        with torch.no_grad():
            for name, weight in self.network.state_dict().items():
                self._average[name].lerp_(weight, 1.0 - decay)
        if self.step % self._config.mine_every == 0:
            self._mine()
        self._batches = {self.step - 1: self._batches[self.step - 1]}
        if self.step < self._config.steps:
            self._request(self.step)

    def _request(self, step: int) -> Future[Batch]:
        """Return the batch of a step, loaded beside the training of the one before."""
        if step not in self._batches:
            # The hard negatives of now, which the thread might see changed.
            pairs = self._sampler.pairs(step)
            self._batches[step] = self._pool.submit(self._load, pairs, step)
        return self._batches[step]

    def _load(self, pairs: list[tuple[int, int]], step: int) -> Batch:
        """Load the own rows of one batch."""
        paths = [(self._data.paths[a], self._data.paths[b]) for a, b in pairs]
        return self._loader.pairs(paths, [self._config.seed, step], self._rows), pairs

    def _mine(self) -> None:
        """Search the hard negatives of every image whose places do not look alike."""
        for images in self._sampler.mined_sources():
            paths = [self._data.paths[index] for index in images]
            self._sampler.set_hard(
                images, describe_images(self.network, self._loader, paths))
        # Every process chooses the pairs of a batch by this table: it must be one table.
        self._sampler.hard = parallel.from_main(lambda: self._sampler.hard)

    def _keep(self, loss: float) -> TrainRecord:
        """Validate, keep the best, save, and log."""
        found = dict(self._validate(self.describe))
        recalls = parallel.from_main(lambda: found)
        score = float(np.mean(list(recalls.values()))) if recalls else float(self.step)
        is_best = score > self.best_score
        if is_best:
            self.best_score = score
            with self._averaged():
                self.best = self.network.tensors()
        self._save()
        record = TrainRecord(self.step, loss, recalls, self.best_score, is_best)
        if parallel.is_main():
            with (self._folder / 'log.jsonl').open('a', encoding='utf-8') as stream:
                stream.write(json.dumps(asdict(record)) + '\n')
        return record

    def _save(self) -> None:
        """Write ``checkpoint.pt``."""
        if parallel.is_main():
            write_checkpoint(self._folder / _CHECKPOINT, {
                'recipe': _fingerprint(self._config), 'step': self.step,
                'best_score': self.best_score, 'network': self.network.state_dict(),
                'average': self._average, 'adam': self._optimizer.state_dict(),
                'hard': torch.from_numpy(self._sampler.hard),
                'best': {name: torch.from_numpy(value) for name, value in self.best.items()}})
        parallel.barrier()  # a process that ended early would have torchrun end this one

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Give the network its averaged weights while the context lasts."""
        trained = copy.deepcopy(self.network.state_dict())
        self.network.load_state_dict(self._average)
        try:
            yield
        finally:
            self.network.load_state_dict(trained)


def _fingerprint(config: TrainConfig) -> str:
    """Return the recipe as text; a checkpoint only continues under the same one."""
    return json.dumps(asdict(config), sort_keys=True)
