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
Channels of a network as things that can be taken out: dependencies, removal, importance.

A channel is rarely one filter. An addition ties its inputs to its output, a depthwise
convolution ties what it reads to what it writes, and the channels of the last layer reach into
NetVLAD and the projection. :func:`channel_groups` finds these ties, :func:`remove_channels`
builds the smaller network, and :func:`mask_channels` zeroes the same channels in the full one:
both describe images alike, which is what the tests hold it to.

:func:`importances` says how much each channel matters, from the weights or from what data has
shown. Every producer of a group is divided by its own mean before the group's scores are averaged,
so that a depthwise filter of 9 weights has the same say as a dense one of 500.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NETVLAD
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression.calibration_images import convolutions
from vpr_compressed.offline.compression.calibration_images import watched_convolutions
from vpr_compressed.offline.network.network import VprNetwork

Values = NDArray[np.float32]
#: Names of the specification -> float32 weights.
Tensors = Mapping[str, Values]
Scores = NDArray[np.float64]
#: Convolution name -> what data has shown of each of its output channels, ``(channels,)``.
ChannelValues = Mapping[str, NDArray[np.floating[Any]]]
#: Group name -> kept channels, rising; a group that is not named keeps all.
Keep = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """
    Channels that can only be removed together.

    :param name: its first layer
    :param channels: number of channels
    :param layers: all layers whose output has these channels, also pools and additions
    :param producers: convolutions among them: filter c makes channel c
    :param consumers: dense convolutions that read the channels, and ``netvlad``
    :param is_feature: whether NetVLAD, and so the projection, reads them
    """

    name: str
    channels: int
    layers: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    is_feature: bool


def channel_groups(spec: NetworkSpec) -> list[ChannelGroup]:
    """
    Return all sets of channels that can be pruned, in execution order.

    Left out, because nothing can be removed: what is tied to the image, and what a grouped
    convolution reads or writes that is neither dense nor depthwise.
    """
    inputs = spec.input_channels()
    root = {name: name for name in (INPUT, *(layer.name for layer in spec.layers))}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    fixed = {INPUT}
    for layer in spec.layers:
        if layer.op != 'conv' or is_depthwise(layer, inputs[layer.name]):
            for source in layer.inputs:
                root[find(layer.name)] = find(source)
        elif layer.groups > 1:
            fixed |= {layer.name, *layer.inputs}
    closed = {find(name) for name in fixed}
    members: dict[str, list[Layer]] = {}
    for layer in spec.layers:
        if find(layer.name) not in closed:
            members.setdefault(find(layer.name), []).append(layer)
    return [_group(spec, layers) for layers in members.values()]


def is_depthwise(layer: Layer, input_channels: int) -> bool:
    """Tell whether a layer makes each output channel from the input channel of its number."""
    return layer.op == 'conv' and 1 < layer.groups == input_channels == layer.channels


def remove_channels(
    spec: NetworkSpec, tensors: Tensors, keep: Keep
) -> tuple[NetworkSpec, dict[str, NDArray[np.float32]]]:
    """
    Build the network without the channels that are not kept.

    :param tensors: weights of ``spec``; what loses nothing is passed on, not copied
    :param keep: group name -> kept channels; groups not named keep all
    :returns: an ordinary smaller network
    """
    smaller = _changed(spec, tensors, keep, lambda values, kept, axis: np.ascontiguousarray(
        values.take(kept, axis)))
    return resized(spec, {name: len(rows) for name, rows in keep.items()}), smaller


def mask_channels(
    spec: NetworkSpec, tensors: Tensors, keep: Keep
) -> dict[str, NDArray[np.float32]]:
    """
    Zero the channels that are not kept, in the network as it is.

    Filters and biases of all producers become zero, depthwise ones included: their bias would
    bring a channel back. What reads the channels is zeroed too, so that the zeros counted are
    the weights :func:`remove_channels` takes out, and no gradient reaches any of them.

    :param tensors: weights of ``spec``; what loses nothing is passed on, not copied
    :param keep: group name -> kept channels; groups not named keep all
    """
    return _changed(spec, tensors, keep, _masked)


def resized(spec: NetworkSpec, counts: Mapping[str, int]) -> NetworkSpec:
    """
    Return the specification with other numbers of channels.

    :param counts: group name -> channels; groups not named stay
    """
    size = {name: counts[group.name] for group in channel_groups(spec) if group.name in counts
            for name in group.layers}
    inputs = spec.input_channels()
    return replace(spec, layers=tuple(
        layer if layer.name not in size else replace(
            layer, channels=size[layer.name],
            groups=size[layer.name] if is_depthwise(layer, inputs[layer.name]) else layer.groups)
        for layer in spec.layers))


def _group(spec: NetworkSpec, layers: list[Layer]) -> ChannelGroup:
    """Return the group of layers that were found to be tied."""
    names = {layer.name for layer in layers}
    is_feature = spec.layers[-1].name in names
    readers = [layer.name for layer in spec.layers if layer.op == 'conv'
               and layer.groups == 1 and layer.inputs[0] in names]
    return ChannelGroup(
        name=layers[0].name, channels=layers[0].channels,
        layers=tuple(layer.name for layer in layers),
        producers=tuple(layer.name for layer in layers if layer.op == 'conv'),
        consumers=(*readers, NETVLAD) if is_feature else tuple(readers), is_feature=is_feature)


def _changed(
    spec: NetworkSpec, tensors: Tensors, keep: Keep,
    change: Callable[[Values, NDArray[np.int64], int], Values]
) -> dict[str, Values]:
    """Change everything that makes or reads channels which are not kept, along their axis."""
    result = dict(tensors)
    kept = {name: keep[group.name] for group in channel_groups(spec) if group.name in keep
            and len(keep[group.name]) < group.channels for name in group.layers}

    def change_tensor(name: str, layer: str, axis: int) -> None:
        if layer in kept:
            result[name] = change(result[name], kept[layer], axis)

    for layer in spec.layers:
        if layer.op == 'conv':
            change_tensor(f'{layer.name}.weight', layer.name, 0)
            change_tensor(f'{layer.name}.bias', layer.name, 0)
            if layer.groups == 1:
                change_tensor(f'{layer.name}.weight', layer.inputs[0], 1)
    features = spec.layers[-1].name
    change_tensor('netvlad.assignment.weight', features, 1)
    change_tensor('netvlad.centers', features, 1)
    if features in kept:  # the columns of the projection are cluster-major: (D, K, C)
        blocks = tensors['projection.weight'].reshape(
            spec.dimension, spec.clusters, spec.feature_channels)
        result['projection.weight'] = change(blocks, kept[features], 2).reshape(
            spec.dimension, -1)
    return result


def _masked(values: Values, kept: NDArray[np.int64], axis: int) -> Values:
    """Return zeros in place of the entries that are not kept along one axis."""
    place = (slice(None),) * axis + (kept,)
    result = np.zeros_like(values)
    result[place] = values[place]
    return result


def importances(
    spec: NetworkSpec, tensors: Tensors, groups: Sequence[ChannelGroup], criterion: str,
    measured: ChannelValues | None = None
) -> dict[str, Scores]:
    """
    Return group name -> how much each of its channels matters.

    Only ratios within a group mean something, except for ``taylor``, whose values are changes of
    one loss and compare between groups too.

    :param criterion: ``l1`` or ``l2``, the norm of a filter with its bias; ``flow``, that times
        the norm of the weights that read the channel; ``activation``, how large it is on images;
        ``taylor``, what removing it does to a loss
    :param measured: what ``activation`` and ``taylor`` need, see :func:`mean_activations` and
        :func:`taylor_scores`
    :returns: float64 ``(channels,)``, at least 0
    :raises ConfigError: if measured values are not finite
    """
    def importance(group: ChannelGroup) -> Scores:
        if measured is None:
            made = _relative_mean([_norms(tensors, name, 1 if criterion == 'l1' else 2)
                                   for name in group.producers])
            return _flow(spec, tensors, group, made) if criterion == 'flow' else made
        parts = [np.asarray(measured[name], np.float64) for name in group.producers]
        if not np.isfinite(parts).all():
            raise ConfigError(f'what was measured of the channels of {group.name!r} is not finite')
        return np.sum(parts, axis=0) if criterion == 'taylor' else _relative_mean(parts)

    return {group.name: importance(group) for group in groups}


def mean_activations(network: VprNetwork, batches: Iterable[Tensor]) -> dict[str, Scores]:
    """
    Measure the mean absolute output of every convolution, for the criterion ``activation``.

    :param batches: normalised images, each ``(B, 3, h, w)``
    :returns: layer name -> float64 ``(channels,)``
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
    """
    found = {layer.name: conv for layer, conv in convolutions(network).items()}
    sums = {layer: np.zeros(conv.out_channels) for layer, conv in found.items()}
    count = 0
    for batch in batches:
        parameters = [value for conv in found.values() for value in conv.parameters()]
        gradients = iter(torch.autograd.grad(loss(network, batch), parameters))
        for layer, conv in found.items():
            total = torch.zeros(conv.out_channels, dtype=torch.float64)
            for value in conv.parameters():
                products = (value.detach() * next(gradients)).reshape(conv.out_channels, -1)
                total += products.sum(dim=1).double().cpu()
            sums[layer] += total.square().numpy()
        count += 1
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


def _flow(spec: NetworkSpec, tensors: Tensors, group: ChannelGroup, made: Scores) -> Scores:
    """
    Return the norms of filters times those of the weights that read their channels.

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
    return _relative_mean([made * _relative_mean(readers)]) if readers else made


def _norms(tensors: Tensors, layer: str, order: int) -> Scores:
    """Return the norm of each filter of a convolution, bias included."""
    weight, bias = tensors[f'{layer}.weight'], tensors[f'{layer}.bias']
    rows = np.concatenate([weight.reshape(len(weight), -1), bias[:, np.newaxis]], axis=1)
    return np.asarray(np.linalg.norm(rows.astype(np.float64), ord=order, axis=1))


def _relative_mean(parts: Sequence[NDArray[Any]]) -> Scores:
    """Return the mean of scores, each divided by its own mean; scores of 0 stay 0."""
    relative = [part / mean if (mean := float(part.mean())) > 0.0 else part for part in parts]
    return np.asarray(np.mean(relative, axis=0), np.float64)
