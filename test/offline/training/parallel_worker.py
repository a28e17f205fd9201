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
One process of a training, started alone or by torchrun; writes down what it ended with.

Called as ``parallel_worker.py STREET OUT JSON``: images, folder for the results, changes to the
recipe and, under ``stop_at`` and ``poison_at``, when the last process asks to stop or breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
import json
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np
from tiny_model import make_tiny_spec
import torch

from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training import describe
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.labels import load_training_set
from vpr_compressed.offline.training.labels import SourceConfig
from vpr_compressed.offline.training.loop import TrainRecord
from vpr_compressed.offline.training.train_config import TrainConfig
from vpr_compressed.offline.training.trainer import Trainer

RECIPE: dict[str, Any] = {
    'steps': 9, 'pairs': 5, 'freeze_until': 'deep', 'loss': 'info_nce', 'lr_trunk': 1e-3,
    'lr_assignment': 1e-2, 'lr_head': 1e-2, 'warmup': 2, 'average': 0.5, 'mine_every': 3,
    'validate_every': 4}


class CountingLoader(ImageLoader):
    """Counts the images of each batch this process has read."""

    counts: list[int]

    def pairs(self, *arguments: Any) -> np.ndarray:
        images = super().pairs(*arguments)
        self.counts.append(len(images))
        return images


def train(street: Path, out: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Train, or fail; return what happened."""
    stop_at, poison_at = options.pop('stop_at', None), options.pop('poison_at', None)
    source = SourceConfig(folder='images', table='places.csv', split='train',
                          positive_radius=3.0, ignore_radius=5.0)
    config = TrainConfig(data=(source,), **(RECIPE | options))
    torch.manual_seed(5 + parallel.rank())  # who starts elsewhere is brought in line
    data = load_training_set(street, config.data)
    loader = CountingLoader(PreprocessingSpec(width=64, height=48))
    loader.counts = []

    def validate(describe_paths: Callable[..., np.ndarray]) -> dict[str, float]:
        found = describe_paths(data.paths, 'dark')
        similarity = found @ found.T - 2 * np.eye(len(found))
        return {'street': float(similarity[::2, 1::2].diagonal().mean())}

    network = VprNetwork(make_tiny_spec())
    trainer = Trainer(network, data, loader, config, out, validate)
    resumed = trainer.resume()
    losses, recalls = [], []
    last = parallel.rank() == parallel.world_size() - 1

    def report(record: TrainRecord) -> None:
        losses.append(record.loss)
        recalls.extend(record.recalls.values())
        if last and record.step == poison_at:
            with torch.no_grad():
                network.projection.bias.fill_(float('nan'))

    error, complete = '', False
    try:
        complete = trainer.train(
            report, stopped=lambda: last and trainer.step == stop_at)
    except TrainingError as failure:
        error = str(failure)
    np.savez(out / f'weights_{parallel.rank()}.npz', **network.tensors())
    np.savez(out / f'best_{parallel.rank()}.npz', **trainer.best)
    loader.close()
    return {'losses': losses, 'recalls': recalls, 'counts': loader.counts, 'error': error,
            'complete': complete, 'resumed': resumed, 'step': trainer.step,
            'processes': parallel.world_size()}


if __name__ == '__main__':
    # In bfloat16 the sums of half a batch are rounded, so results would agree less closely.
    describe.fast_convolutions = lambda device: nullcontext()
    torch.set_num_threads(1)
    folder = Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    with parallel.joined():
        outcome = train(Path(sys.argv[1]), folder, json.loads(sys.argv[3]))
        (folder / f'outcome_{parallel.rank()}.json').write_text(json.dumps(outcome))
    sys.stdout.flush()
    os._exit(0)  # as vpr_compressed.__main__ does among several processes, for the same reason
