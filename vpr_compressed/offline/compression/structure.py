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
Channels of a network as things that can be taken out: dependencies, removal, cost.

A channel is rarely one filter. An addition ties its inputs to its output, a depthwise
convolution ties what it reads to what it writes, and the channels of the last layer reach into
NetVLAD and the projection. :func:`channel_groups` finds these ties, :func:`remove_channels`
builds the smaller network, and :func:`mask_channels` zeroes the same channels in the full one:
both describe images alike, which is what the tests hold it to.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import suggest
from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NETVLAD
from vpr_compressed.model_file.spec import NetworkSpec

Values = NDArray[np.float32]
#: Names of the specification -> float32 weights.
Tensors = Mapping[str, Values]
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
    :raises ConfigError: unknown group, or channels that are absent, double, unsorted or none
    """
    smaller = _changed(spec, tensors, keep, _taken)
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
    :raises ConfigError: as :func:`remove_channels`
    """
    return _changed(spec, tensors, keep, _masked)


def resized(spec: NetworkSpec, counts: Mapping[str, int]) -> NetworkSpec:
    """
    Return the specification with other numbers of channels.

    :param counts: group name -> channels; groups not named stay
    :raises ConfigError: unknown group, or a count below 1 or above the group's
    """
    groups = _groups_by_name(spec, counts)
    size: dict[str, int] = {}
    for name, count in counts.items():
        if not 1 <= count <= groups[name].channels:
            raise ConfigError(
                f'channel group {name!r} has {groups[name].channels} channels, it cannot keep '
                f'{count}; keep at least 1')
        size |= dict.fromkeys(groups[name].layers, count)
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


def _groups_by_name(spec: NetworkSpec, wanted: Mapping[str, object]) -> dict[str, ChannelGroup]:
    """Return the groups of a network, or raise if one that is wanted is not there."""
    groups = {group.name: group for group in channel_groups(spec)}
    for name in wanted:
        if name not in groups:
            raise ConfigError(
                f'{spec.trunk} has no channel group {name!r} that can be pruned'
                f'{suggest(name, groups)}')
    return groups


def _kept_by_layer(spec: NetworkSpec, keep: Keep) -> dict[str, NDArray[np.int64]]:
    """Return layer name -> kept output channels, of layers that lose some."""
    groups = _groups_by_name(spec, keep)
    kept: dict[str, NDArray[np.int64]] = {}
    for name, chosen in keep.items():
        group, rows = groups[name], np.asarray(chosen)
        fits = rows.ndim == 1 and rows.size > 0 and np.issubdtype(rows.dtype, np.integer)
        if not fits or rows[0] < 0 or rows[-1] >= group.channels or (np.diff(rows) < 1).any():
            raise ConfigError(
                f'channels to keep of group {name!r} must be whole numbers, one or more, rising, '
                f'from 0 to {group.channels - 1}; got {rows!r}')
        if len(rows) < group.channels:
            kept |= dict.fromkeys(group.layers, rows.astype(np.int64))
    return kept


def _changed(
    spec: NetworkSpec, tensors: Tensors, keep: Keep,
    change: Callable[[Values, NDArray[np.int64], int], Values]
) -> dict[str, Values]:
    """Change everything that makes or reads channels which are not kept, along their axis."""
    kept, result = _kept_by_layer(spec, keep), dict(tensors)

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


def _taken(values: Values, kept: NDArray[np.int64], axis: int) -> Values:
    """Return the entries that are kept along one axis."""
    return np.ascontiguousarray(values.take(kept, axis))


def _masked(values: Values, kept: NDArray[np.int64], axis: int) -> Values:
    """Return zeros in place of the entries that are not kept along one axis."""
    place = (slice(None),) * axis + (kept,)
    result = np.zeros_like(values)
    result[place] = values[place]
    return result
