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
How much each channel matters: named criteria, from the weights or from what data has shown.

Every producer of a group is divided by its own mean before the group's scores are averaged, so
that a depthwise filter of 9 weights has the same say as a dense one of 500.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.config import suggest
from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NETVLAD
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression.calibration_images import convolutions
from vpr_compressed.offline.compression.calibration_images import watched_convolutions
from vpr_compressed.offline.compression.structure import ChannelGroup
from vpr_compressed.offline.compression.structure import Tensors
from vpr_compressed.offline.network.network import VprNetwork

Scores = NDArray[np.float64]
#: Convolution name -> what data has shown of each of its output channels, ``(channels,)``.
ChannelValues = Mapping[str, NDArray[np.floating[Any]]]
Criterion = Callable[[NetworkSpec, Tensors, ChannelGroup, 'ChannelValues | None'], Scores]


def importance(
    spec: NetworkSpec, tensors: Tensors, group: ChannelGroup, criterion: str,
    measured: ChannelValues | None = None
) -> Scores:
    """
    Return how much each channel of a group matters.

    Only ratios within a group mean something, except for ``taylor``, whose values are changes of
    one loss and compare between groups too.

    :param criterion: one of :data:`CRITERIA`
    :param measured: what ``activation`` and ``taylor`` need, see :func:`mean_activations` and
        :func:`taylor_scores`
    :returns: float64 ``(channels,)``, at least 0
    :raises ConfigError: unknown criterion; measured values are missing or do not fit
    """
    if criterion not in CRITERIA:
        raise ConfigError(f'unknown pruning criterion {criterion!r}{suggest(criterion, CRITERIA)}')
    return CRITERIA[criterion](spec, tensors, group, measured)


def importances(
    spec: NetworkSpec, tensors: Tensors, groups: Sequence[ChannelGroup], criterion: str,
    measured: ChannelValues | None = None
) -> dict[str, Scores]:
    """Return group name -> :func:`importance`."""
    return {group.name: importance(spec, tensors, group, criterion, measured)
            for group in groups}


def mean_activations(network: VprNetwork, batches: Iterable[Tensor]) -> dict[str, Scores]:
    """
    Measure the mean absolute output of every convolution, for the criterion ``activation``.

    :param batches: normalised images, each ``(B, 3, h, w)``
    :returns: layer name -> float64 ``(channels,)``
    :raises ConfigError: if there is no image
    """
    bounds = {'none': (-np.inf, np.inf), 'relu': (0.0, np.inf), 'relu6': (0.0, 6.0)}
    sums: dict[str, Scores] = {}

    def watch(layer: Layer, output: Tensor) -> None:
        means = output.clamp(*bounds[layer.activation]).abs().mean(dim=(2, 3)).sum(dim=0)
        sums[layer.name] = sums.get(layer.name, 0.0) + means.double().cpu().numpy()

    images = 0
    with watched_convolutions(network, watch), torch.inference_mode():
        for batch in batches:
            network.features(batch)
            images += len(batch)
    if not images:
        raise ConfigError('activations are measured on images, and there are none')
    return {layer: total / images for layer, total in sums.items()}


def taylor_scores(
    network: VprNetwork, batches: Iterable[Any], loss: Callable[[VprNetwork, Any], Tensor]
) -> dict[str, Scores]:
    """
    Measure what removing a filter would do to the loss, for the criterion ``taylor``.

    The first-order estimate of Molchanov et al. (CVPR 2019): the square of the sum of weight x
    gradient over a filter and its bias, averaged over batches.

    :param batches: whatever ``loss`` takes
    :param loss: differentiable, of a network on one batch
    :returns: layer name -> float64 ``(channels,)``
    :raises ConfigError: if there is no batch, or the loss does not reach a convolution
    """
    found = {layer.name: conv for layer, conv in convolutions(network).items()}
    sums = {layer: np.zeros(conv.out_channels) for layer, conv in found.items()}
    count = 0
    for batch in batches:
        parameters = [value for conv in found.values() for value in conv.parameters()]
        gradients = iter(torch.autograd.grad(loss(network, batch), parameters, allow_unused=True))
        for layer, conv in found.items():
            total = torch.zeros(conv.out_channels, dtype=torch.float64)
            for value in conv.parameters():
                gradient = next(gradients)
                if gradient is None:
                    raise ConfigError(
                        f'the loss does not depend on layer {layer!r}; the criterion taylor '
                        'needs one that does (is the layer frozen?)')
                products = (value.detach() * gradient).reshape(conv.out_channels, -1)
                total += products.sum(dim=1).double().cpu()
            sums[layer] += total.square().numpy()
        count += 1
    if not count:
        raise ConfigError('the criterion taylor is measured on batches, and there are none')
    return {layer: total / count for layer, total in sums.items()}


def descriptor_change(seed: int = 0) -> Callable[[VprNetwork, Tensor], Tensor]:
    """
    Return a loss for :func:`taylor_scores` that rates channels by how far they move descriptors.

    A distillation loss will not do: it is at its minimum as long as the network equals its
    teacher, and all its gradients are zero. Here each descriptor is multiplied by random numbers
    and all products are added. The expected square of (weight x gradient) is then the squared
    length of the change of the descriptors, to first order, summed over the batch.

    :returns: function of a network and normalised images ``(B, 3, h, w)``
    """
    generator = torch.Generator().manual_seed(seed)

    def loss(network: VprNetwork, images: Tensor) -> Tensor:
        descriptors = network(images.to(network.projection.weight.device))
        directions = torch.randn(descriptors.shape, generator=generator)
        return torch.sum(descriptors * directions.to(descriptors.device))

    return loss


def _filter_norm(order: int) -> Criterion:
    """Return the criterion that takes the norm of a filter with its bias."""
    def score(
        _: NetworkSpec, tensors: Tensors, group: ChannelGroup, __: ChannelValues | None
    ) -> Scores:
        return _relative_mean([_norms(tensors, name, order) for name in group.producers])

    return score


def _flow(
    spec: NetworkSpec, tensors: Tensors, group: ChannelGroup, _: ChannelValues | None
) -> Scores:
    """
    Score by filter norm x norm of the weights that read the channel.

    Unlike a filter's norm alone it does not change when a channel is scaled up and its readers
    down, which folded batch norm does at will.
    """
    readers = []
    for name in group.consumers:
        if name == NETVLAD:
            blocks = tensors['projection.weight'].reshape(-1, spec.feature_channels)
            readers.append(np.linalg.norm(blocks, axis=0))
        else:
            columns = np.moveaxis(tensors[f'{name}.weight'], 1, 0).reshape(group.channels, -1)
            readers.append(np.linalg.norm(columns, axis=1))
    made = _relative_mean([_norms(tensors, name, 2) for name in group.producers])
    return _relative_mean([made * _relative_mean(readers)]) if readers else made


def _activity(
    _: NetworkSpec, __: Tensors, group: ChannelGroup, measured: ChannelValues | None
) -> Scores:
    """Score by how large a channel is on images."""
    return _relative_mean([_of_layer(group, name, measured) for name in group.producers])


def _loss_change(
    _: NetworkSpec, __: Tensors, group: ChannelGroup, measured: ChannelValues | None
) -> Scores:
    """Score by what a channel does to a loss; its producers add up."""
    return np.asarray(np.sum(
        [_of_layer(group, name, measured) for name in group.producers], axis=0), np.float64)


def _norms(tensors: Tensors, layer: str, order: int) -> Scores:
    """Return the norm of each filter of a convolution, bias included."""
    weight, bias = tensors[f'{layer}.weight'], tensors[f'{layer}.bias']
    rows = np.concatenate([weight.reshape(len(weight), -1), bias[:, np.newaxis]], axis=1)
    return np.asarray(np.linalg.norm(rows.astype(np.float64), ord=order, axis=1))


def _of_layer(group: ChannelGroup, layer: str, measured: ChannelValues | None) -> Scores:
    """Return the measured values of one producer."""
    if measured is None or layer not in measured:
        raise ConfigError(
            f'this pruning criterion needs measured values of layer {layer!r}; give those of '
            f'all convolutions, or take another of {", ".join(CRITERIA)}')
    values = np.asarray(measured[layer], np.float64)
    if values.shape != (group.channels,) or not np.isfinite(values).all() or (values < 0).any():
        raise ConfigError(
            f'measured values of layer {layer!r} must be {group.channels} finite numbers, none '
            f'below 0; got shape {values.shape}')
    return values


def _relative_mean(parts: Sequence[NDArray[Any]]) -> Scores:
    """Return the mean of scores, each divided by its own mean; scores of 0 stay 0."""
    relative = [part / mean if (mean := float(part.mean())) > 0.0 else part for part in parts]
    return np.asarray(np.mean(relative, axis=0), np.float64)


#: Criterion name -> its function; the last two want measured values.
CRITERIA: dict[str, Criterion] = {
    'l1': _filter_norm(1), 'l2': _filter_norm(2), 'flow': _flow, 'activation': _activity,
    'taylor': _loss_change}
