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
What a network looks like and what it is fed with.

Plain data, without torch: ``dataclasses.asdict`` gives what a file header holds, and
:func:`vpr_compressed.config.config_from_mapping` reads it.

A trunk is a list of layers in execution order. Batch norm is always folded into the
convolution before it, so a pruned, quantised or imported network is described by the same
few operations, and any engine can be written against this one page.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from vpr_compressed.config import Bounded
from vpr_compressed.config import option
from vpr_compressed.config import required
from vpr_compressed.errors import ConfigError

#: Name under which the first layer finds the network input.
INPUT = 'image'
OPERATIONS = ('conv', 'max_pool', 'add')
ACTIVATIONS = ('none', 'relu', 'relu6')
#: Names of the entries that stand for NetVLAD and the projection among layers.
NETVLAD = 'netvlad'
PROJECTION = 'projection'


@dataclass(frozen=True, kw_only=True)
class Layer(Bounded):
    """
    One step of the trunk; ``add`` adds two equal shapes, a convolution has a bias.

    :raises ConfigError: naming layer, field, value and bounds
    """

    name: str = required('unique; tensors are called ``<name>.weight`` and ``<name>.bias``')
    op: str = required('what it does', choices=OPERATIONS)
    inputs: tuple[str, ...] = required('names of earlier layers, or ``image``')
    channels: int = required('number of output channels', minimum=1)
    kernel: int = option(1, 'side of the square window in pixels', minimum=1)
    stride: int = option(1, 'pixels from one window to the next', minimum=1)
    padding: int = option(0, 'pixels added at each side, which count for nothing', minimum=0)
    groups: int = option(
        1, 'convolution groups; equal to the input channels for a depthwise layer', minimum=1)
    activation: str = option('none', 'applied last', choices=ACTIVATIONS)

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ConfigError as error:
            raise ConfigError(f'layer {self.name!r}: {error}') from error
        if len(self.inputs) != (2 if self.op == 'add' else 1):
            raise ConfigError(f'layer {self.name!r} ({self.op}) has {len(self.inputs)} inputs')


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(Bounded):
    """
    Trunk, NetVLAD and projection of one network.

    :raises ConfigError: for a network that cannot be
    """

    trunk: str = required('name of the architecture the layers come from, for people')
    layers: tuple[Layer, ...] = required('the trunk; the last layer feeds NetVLAD')
    clusters: int = required('number K of NetVLAD clusters', minimum=1)
    dimension: int = required('size D of the descriptor', minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {INPUT}
        for layer in self.layers:
            missing = [name for name in layer.inputs if name not in known]
            if missing or layer.name in known:
                raise ConfigError(
                    f'layer {layer.name!r} uses {missing or "a name that is taken"}; layers '
                    'must have unique names and come after their inputs')
            known.add(layer.name)
        if not self.layers:
            raise ConfigError('a network needs layers')
        self.input_channels()

    @property
    def feature_channels(self) -> int:
        """Number C of channels of the trunk's output."""
        return self.layers[-1].channels

    def input_channels(self) -> dict[str, int]:
        """
        Return the number of input channels of every layer.

        :raises ConfigError: if channel counts or groups do not fit
        """
        channels = {INPUT: 3}
        inputs = {}
        for layer in self.layers:
            counts = {channels[name] for name in layer.inputs}
            size = counts.pop()
            keeps = layer.op != 'conv'
            if counts or (keeps and size != layer.channels) or size % layer.groups or (
                    layer.channels % layer.groups):
                raise ConfigError(
                    f'layer {layer.name!r} ({layer.op}, {layer.groups} groups) cannot turn '
                    f'{size} channels into {layer.channels}')
            inputs[layer.name] = size
            channels[layer.name] = layer.channels
        return inputs

    def output_sizes(self, width: int, height: int) -> dict[str, tuple[int, int]]:
        """
        Return rows and columns of the output of every layer.

        :param width: width of the network input in pixels
        :param height: height of the network input in pixels
        :raises ConfigError: if the image is too small for the network
        """
        sizes = {INPUT: (height, width)}
        for layer in self.layers:
            rows, columns = sizes[layer.inputs[0]]
            if layer.op != 'add':
                rows, columns = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1
                                 for side in (rows, columns))
            if min(rows, columns) < 1:
                raise ConfigError(
                    f'an image of {width}x{height} is too small: nothing is left of it at layer '
                    f'{layer.name!r}; take a larger input')
            sizes[layer.name] = (rows, columns)
        return sizes

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of every tensor, in the order they are stored."""
        inputs = self.input_channels()
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            if layer.op == 'conv':
                shapes[f'{layer.name}.weight'] = (
                    layer.channels, inputs[layer.name] // layer.groups, layer.kernel, layer.kernel)
                shapes[f'{layer.name}.bias'] = (layer.channels,)
        features, clusters = self.feature_channels, self.clusters
        shapes['netvlad.assignment.weight'] = (clusters, features)
        shapes['netvlad.assignment.bias'] = (clusters,)
        shapes['netvlad.centers'] = (clusters, features)
        shapes['projection.weight'] = (self.dimension, clusters * features)
        shapes['projection.bias'] = (self.dimension,)
        return shapes

    def parameters(self) -> int:
        """Return the number of scalars of the network."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())


@dataclass(frozen=True, kw_only=True)
class PreprocessingSpec(Bounded):
    """What a network wants to be fed with; stored in its model file."""

    width: int = option(320, 'width of the network input in pixels', minimum=1)
    height: int = option(240, 'height of the network input in pixels', minimum=1)
    mean: tuple[float, float, float] = option(
        (0.485, 0.456, 0.406), 'RGB mean that is subtracted from pixels / 255')
    std: tuple[float, float, float] = option(
        (0.229, 0.224, 0.225), 'RGB standard deviation the difference is divided by', above=0.0)


def multiply_adds(spec: NetworkSpec, width: int, height: int) -> dict[str, int]:
    """
    Count the multiplications of one image; each comes with one addition.

    A convolution: output pixels x output channels x input channels / groups x kernel^2. NetVLAD
    on N features: ``2 N K C + K C`` (assignment, weighted sum, centres). The projection:
    ``D K C``. Pools, additions, activations and norms multiply next to nothing and are left out.

    :param width: width of the network input in pixels
    :param height: height of the network input in pixels
    :returns: layer name, then ``netvlad`` and ``projection`` -> multiplications
    :raises ConfigError: if the image is too small for the network
    """
    inputs, sizes = spec.input_channels(), spec.output_sizes(width, height)
    counts = {}
    for layer in spec.layers:
        rows, columns = sizes[layer.name]
        if layer.op == 'conv':
            counts[layer.name] = (rows * columns * layer.channels * layer.kernel ** 2
                                  * (inputs[layer.name] // layer.groups))
    rows, columns = sizes[spec.layers[-1].name]
    vector = spec.clusters * spec.feature_channels
    return counts | {NETVLAD: (2 * rows * columns + 1) * vector,
                     PROJECTION: spec.dimension * vector}
