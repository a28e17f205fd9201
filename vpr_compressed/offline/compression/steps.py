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
What each step of a recipe does to a student; one :class:`Handler` per step, found by its type.

``begin`` changes the network once, ``prepare`` runs before every optimiser step, ``end`` after
the last one. Whatever a later call needs goes into ``Work.notes``, which is checkpointed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression import pruning_plan
from vpr_compressed.offline.compression import recipe
from vpr_compressed.offline.compression import reduction
from vpr_compressed.offline.compression import structure
from vpr_compressed.offline.compression.calibration_images import calibrate
from vpr_compressed.offline.compression.calibration_images import correct_biases
from vpr_compressed.offline.compression.calibration_images import mean_outputs
from vpr_compressed.offline.compression.codebook import fit_codebook
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.network.initialise import sample_features
from vpr_compressed.offline.training.describe import describe_views
from vpr_compressed.offline.training.losses import targets
from vpr_compressed.offline.training.views import Views

#: Shares of zeros tried by the sensitivity scan.
SCAN = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
#: Optimiser steps between two looks at which weights to prune.
PRUNE_EVERY = 10
_BATCH = 32
#: Images whose mean activations the biases are corrected by, all in memory at once.
_CORRECTED = 48


@dataclass
class Work:
    """
    What a handler works on.

    :param seed: numbers that are this step's own
    :param progress: called with what is being done, done and in all; may raise to cancel
    :param notes: plain values kept in the checkpoint of this step
    """

    student: Student
    views: Views
    seed: tuple[int, ...]
    progress: Callable[[str, int, int], None]
    notes: dict[str, Any] = field(default_factory=dict)

    def rows(self, count: int) -> np.ndarray:
        """Return random views, the same for the same seed."""
        total = len(self.views)
        chosen = np.random.default_rng(self.seed).permutation(total)[:min(count, total)]
        return np.sort(chosen)

    def chosen(self, patterns: Sequence[str]) -> list[str]:
        """Return the weight tensors that the patterns of a step choose."""
        network = self.student.network
        return recipe.select(list(network.named_tensors()), patterns, {
            f'{layer.name}.weight' for layer in network.spec.layers if layer.groups > 1})

    def batches(self, count: int, stage: str, size: int = _BATCH) -> Iterator[Tensor]:
        """Yield random views as network input, on the network's device."""
        device = self.student.network.projection.weight.device
        rows = self.rows(count)
        for start in range(0, len(rows), size):
            yield torch.from_numpy(self.views.batch(rows[start:start + size])).to(
                device, memory_format=torch.channels_last)
            self.progress(stage, min(start + size, len(rows)), len(rows))


class Handler:
    """Does nothing around the training of a step; the base of those that do."""

    def begin(self, work: Work, step: Any) -> None:
        """Change the network before the step trains."""

    def prepare(self, work: Work, step: Any, number: int) -> None:
        """Act before optimiser step ``number``, from 0."""

    def end(self, work: Work, step: Any) -> None:
        """Act after the last optimiser step, or at once if the step does not train."""


class _Truncate(Handler):
    def begin(self, work: Work, step: recipe.TruncateWhitening) -> None:
        student = work.student
        student.reshape(*reduction.truncate_whitening(
            student.spec, student.network.tensors(), step.dimension))


class _Reduce(Handler):
    def begin(self, work: Work, step: recipe.ReduceChannels) -> None:
        student = work.student
        features = sample_features(
            student.network, work.batches(step.images, 'local features'), seed=work.seed[0])
        with torch.inference_mode():
            vectors = torch.cat([
                student.network.netvlad(student.network.features(images).float())
                for images in work.batches(step.images, 'VLAD vectors')])
        tensors = student.network.tensors()
        basis, energy = reduction.vlad_basis(
            vectors.cpu().numpy(), tensors['netvlad.assignment.weight'], features.cpu().numpy(),
            step.channels)
        work.notes['kept_energy'] = energy
        student.reshape(*reduction.reduce_channels(
            student.spec, tensors, basis, kept_energy=energy))


class _PruneChannels(Handler):
    def begin(self, work: Work, step: recipe.PruneChannels) -> None:
        student = work.student
        spec, tensors = student.spec, student.network.tensors()
        groups = [group for group in structure.channel_groups(spec)
                  if not (step.keep_features and group.is_feature)]
        scores = _channel_scores(work, step, groups)
        share, size = 1.0 - step.ratio, student.preprocessing

        def cost(pruned: NetworkSpec) -> int:
            if step.of == 'channels':
                return sum(group.channels for group in structure.channel_groups(pruned)
                           if group.name in scores)
            return sum(multiply_adds(pruned, size.width, size.height).values())

        if step.scope == 'layer':
            keep = pruning_plan.keep_per_layer(
                spec, scores, share, multiple_of=step.multiple_of)
        elif step.scope == 'global':
            keep = pruning_plan.keep_globally(
                spec, scores, share, cost, multiple_of=step.multiple_of,
                normalise=step.criterion != 'taylor')
        else:
            keep = pruning_plan.keep_by_sensitivity(
                spec, scores, self._losses(work, step, scores), share, cost,
                multiple_of=step.multiple_of)
        work.notes['kept'] = {name: len(kept) for name, kept in keep.items()}
        student.reshape(*structure.remove_channels(spec, tensors, keep))

    @staticmethod
    def _losses(
        work: Work, step: recipe.PruneChannels, scores: pruning_plan.GroupScores
    ) -> pruning_plan.Losses:
        """Return what removing some channels of one group alone costs."""
        network = work.student.network
        tensors = network.tensors()

        def change(name: str, share: float) -> None:
            network.load_tensors(structure.mask_channels(
                network.spec, tensors, pruning_plan.keep_per_layer(
                    network.spec, {name: scores[name]}, 1.0 - share,
                    multiple_of=step.multiple_of)))

        return _scan(work, scores, (0.25, 0.5, 0.75), step.images, change,
                     'sensitivity of channels')


class _Sparsify(Handler):
    def begin(self, work: Work, step: recipe.Sparsify) -> None:
        named = work.student.network.named_tensors()
        names = work.chosen(step.tensors)
        shares = dict.fromkeys(names, step.sparsity)
        if step.method == 'sensitivity':
            def change(name: str, share: float) -> None:
                with torch.no_grad():
                    named[name].masked_fill_(pruning_plan.smallest(named[name], share), 0.0)

            shares = pruning_plan.allocate(
                _scan(work, names, SCAN, step.images, change, 'sensitivity of tensors'),
                {name: named[name].numel() for name in names}, step.sparsity)
        work.notes['shares'] = shares

    def prepare(self, work: Work, step: recipe.Sparsify, number: int) -> None:
        if number % PRUNE_EVERY == 0:
            self._prune(work, step, number)

    def end(self, work: Work, step: recipe.Sparsify) -> None:
        self._prune(work, step, step.steps)
        work.student.write()

    @staticmethod
    def _prune(work: Work, step: recipe.Sparsify, number: int) -> None:
        """Extend the masks to what they should be at an optimiser step."""
        named, constraints = work.student.network.named_tensors(), work.student.constraints
        shares = work.notes['shares']
        now = pruning_plan.gradual(number, step.steps) if step.steps else 1.0
        threshold = step.threshold
        if step.method == 'threshold' and threshold == 0.0:
            threshold = pruning_plan.common_threshold(
                [named[name] for name in shares], now * step.sparsity)
        for name, share in shares.items():
            constraints.prune(name, named[name].detach().abs() < threshold if step.method ==
                              'threshold' else pruning_plan.smallest(named[name], now * share))


class _Quantize(Handler):
    def begin(self, work: Work, step: recipe.Quantize) -> None:
        student = work.student
        named, constraints = student.network.named_tensors(), student.constraints
        names = work.chosen(step.tensors)
        shared = [name for name in names if name in constraints.codebooks]
        names = [name for name in names if name not in shared]
        if not names:
            raise ConfigError(
                f'this quantize step chooses no tensor that is not shared already, by '
                f'{", ".join(step.tensors)}; shared: {", ".join(shared[:3]) or "none"}')
        images = None
        if any(name.partition('.')[0] not in ('netvlad', 'projection') for name in names):
            images = next(work.batches(_CORRECTED, 'bias correction', size=_CORRECTED))
            means = mean_outputs(student.network, images)
        if step.reassign:
            constraints.begin_moving(named, names)
        for number, name in enumerate(names):
            book = fit_codebook(named[name], step.bits, step.grid, constraints.pruned.get(name))
            constraints.codebooks[name] = book.to(named[name].device)
            work.progress('k-means', number + 1, len(names))
        student.write()
        if images is not None:
            correct_biases(student.network, means, images)

    def end(self, work: Work, step: recipe.Quantize) -> None:
        del step  # the same for all options
        work.student.write()
        work.student.constraints.latent.clear()  # membership is fixed where it is now


class _QuantizeActivations(Handler):
    def begin(self, work: Work, step: recipe.QuantizeActivations) -> None:
        student = work.student
        books = student.constraints.codebooks
        for layer in student.spec.layers:
            book = books.get(f'{layer.name}.weight')
            if layer.op == 'conv' and (book is None or book.grid != 'int8'):
                raise ConfigError(
                    f'quantize_activations needs int8 weights in every convolution, '
                    f'{layer.name!r} has none; quantize the whole trunk with grid int8 first')
        student.network.activations = calibrate(
            student, work.batches(step.images, 'activation ranges'), step.percentile)


HANDLERS: dict[type[Any], Handler] = {
    recipe.TruncateWhitening: _Truncate(), recipe.ReduceChannels: _Reduce(),
    recipe.PruneChannels: _PruneChannels(), recipe.Sparsify: _Sparsify(),
    recipe.Quantize: _Quantize(), recipe.QuantizeActivations: _QuantizeActivations(),
    recipe.Finetune: Handler()}


def agreement(work: Work, rows: np.ndarray) -> float:
    """Return the mean cosine between the student's and the parent's descriptors of views."""
    found = describe_views(work.student.network, work.views, rows)
    wanted = targets(work.views.parent[rows], found.shape[1])
    return float((found * wanted).sum(axis=1).mean())


def _scan(
    work: Work, names: Iterable[str], levels: Sequence[float], images: int,
    change: Callable[[str, float], None], stage: str
) -> pruning_plan.Losses:
    """
    Note and return what pruning each tensor or group alone costs in agreement with the parent.

    :param change: prunes a share of one of them in the live network, which is restored
    """
    rows, network = work.rows(images), work.student.network
    kept = network.tensors()

    def score(name: str, share: float) -> float:
        change(name, share)
        try:
            return agreement(work, rows)
        finally:
            network.load_tensors(kept)

    table = pruning_plan.scan(
        names, levels, score, whole=agreement(work, rows),
        report=lambda done, total: work.progress(stage, done, total))
    work.notes['sensitivity'] = [
        [name, share, loss] for name, found in table.items() for share, loss in found]
    return table


def _channel_scores(work: Work, step: recipe.PruneChannels, groups: Any) -> Any:
    """Return the importance of every channel by the criterion of the step."""
    student = work.student
    measured = None
    if step.criterion == 'activation':
        measured = structure.mean_activations(
            student.network, work.batches(step.images, 'channel activity'))
    elif step.criterion == 'taylor':
        student.network.freeze_layers(0)
        # Not the distance to the parent: as long as nothing was lost its gradient is zero.
        measured = structure.taylor_scores(
            student.network, work.batches(step.images, 'channel importance', size=16),
            structure.descriptor_change(work.seed[0]))
    return structure.importances(
        student.spec, student.network.tensors(), groups, step.criterion, measured)
