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
Trunks from ``torchvision.models``, cut at a named layer and written as plain layers.

Batch norm is folded, so the result holds convolutions, pools and additions only and can be
rebuilt with any number of channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
import torchvision

from vpr_compressed.config import suggest
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer


@dataclass
class Trunk:
    """Layers of a trunk and their weights, growing while a torchvision model is walked."""

    layers: list[Layer] = field(default_factory=list)
    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def last(self) -> str:
        """Name of the newest layer."""
        return self.layers[-1].name if self.layers else INPUT

    def conv(
        self, name: str, conv: nn.Conv2d, norm: Any = None, *,
        activation: str = 'none', source: str | None = None
    ) -> str:
        """
        Append a convolution with its batch norm folded.

        :param norm: the ``BatchNorm2d`` that follows, or None
        :param source: layer it reads; the newest one by default
        :returns: its name
        """
        weight = conv.weight.double()  # so that folding rounds once
        bias = (torch.zeros(conv.out_channels) if conv.bias is None else conv.bias).double()
        if norm is not None:
            weight, bias = fuse_conv_bn_weights(
                weight, bias, norm.running_mean.double(), norm.running_var.double(), norm.eps,
                norm.weight.double(), norm.bias.double())
        self.tensors[f'{name}.weight'] = weight.detach().float().numpy()
        self.tensors[f'{name}.bias'] = bias.detach().float().numpy()
        self.layers.append(Layer(
            name=name, op='conv', inputs=(source or self.last,), channels=conv.out_channels,
            kernel=conv.kernel_size[0], stride=conv.stride[0], padding=int(conv.padding[0]),
            groups=conv.groups, activation=activation))
        return name

    def pool(self, name: str, pool: Any) -> str:
        """Append a ``MaxPool2d`` and return its name."""
        self.layers.append(Layer(
            name=name, op='max_pool', inputs=(self.last,), channels=self.layers[-1].channels,
            kernel=int(pool.kernel_size), stride=int(pool.stride), padding=int(pool.padding)))
        return name

    def add(self, name: str, first: str, second: str, activation: str = 'none') -> str:
        """Append the sum of two layers and return its name."""
        self.layers.append(Layer(
            name=name, op='add', inputs=(first, second), channels=self.layers[-1].channels,
            activation=activation))
        return name

    def cut_after(self, name: str) -> Trunk:
        """
        Return the trunk up to and including one layer.

        :raises ConfigError: if there is no such layer
        """
        names = [layer.name for layer in self.layers]
        if name not in names:
            raise ConfigError(f'the trunk has no layer {name!r}{suggest(name, names)}')
        layers = self.layers[:names.index(name) + 1]
        kept = {layer.name for layer in layers}
        return Trunk(layers, {key: value for key, value in self.tensors.items()
                              if key.rpartition('.')[0] in kept})


def _vgg16(model: Any) -> Trunk:
    """Walk VGG16; the last convolution keeps no ReLU, as NetVLAD wants it."""
    trunk = Trunk()
    modules = list(model.features)
    for index, module in enumerate(modules):
        if isinstance(module, nn.Conv2d):
            last = index == 28
            trunk.conv(f'features.{index}', module, activation='none' if last else 'relu')
        elif isinstance(module, nn.MaxPool2d) and index < 28:
            trunk.pool(f'features.{index}', module)
    return trunk


def _resnet18(model: Any) -> Trunk:
    """Walk ResNet18 block by block."""
    trunk = Trunk()
    trunk.conv('conv1', model.conv1, model.bn1, activation='relu')
    trunk.pool('maxpool', model.maxpool)
    for stage in ('layer1', 'layer2', 'layer3', 'layer4'):
        for index, block in enumerate(getattr(model, stage)):
            name, source = f'{stage}.{index}', trunk.last
            trunk.conv(f'{name}.conv1', block.conv1, block.bn1, activation='relu')
            main = trunk.conv(f'{name}.conv2', block.conv2, block.bn2)
            if block.downsample is not None:
                source = trunk.conv(f'{name}.downsample', block.downsample[0],
                                    block.downsample[1], source=source)
            trunk.add(name, main, source, activation='relu')
    return trunk


def _mobilenet_v2(model: Any) -> Trunk:
    """Walk MobileNetV2 block by block; names are torchvision's."""
    trunk = Trunk()
    trunk.conv('features.0', model.features[0][0], model.features[0][1], activation='relu6')
    for index, block in enumerate(model.features[1:-1], start=1):
        source = trunk.last
        steps = list(block.conv)
        for number, step in enumerate(steps[:-2]):
            trunk.conv(f'features.{index}.conv.{number}', step[0], step[1], activation='relu6')
        name = f'features.{index}.conv.{len(steps) - 2}'
        trunk.conv(name, steps[-2], steps[-1])
        if block.use_res_connect:
            trunk.add(f'features.{index}', trunk.last, source)
    last = len(model.features) - 1
    trunk.conv(f'features.{last}', model.features[last][0], model.features[last][1],
               activation='relu6')
    return trunk


@dataclass(frozen=True)
class _Family:
    """How one torchvision model is built, walked and usually cut."""

    build: Callable[..., nn.Module]
    walk: Callable[[Any], Trunk]
    cut: str


TRUNKS = {
    'vgg16': _Family(torchvision.models.vgg16, _vgg16, 'features.28'),
    'resnet18': _Family(torchvision.models.resnet18, _resnet18, 'layer3.1'),
    # The expansion of block 14: 576 channels at stride 16, before the stride-32 depthwise.
    'mobilenet_v2': _Family(torchvision.models.mobilenet_v2, _mobilenet_v2, 'features.14.conv.0'),
}


def build_trunk(name: str, *, weights: Path | None = None, cut: str = '') -> Trunk:
    """
    Return the layers and weights of a torchvision trunk.

    :param name: ``vgg16``, ``resnet18`` or ``mobilenet_v2``
    :param weights: ``.safetensors`` file with torchvision's key names; classifier keys may be
        absent; None starts from random weights
    :param cut: last layer to keep; empty takes the usual one of the trunk
    :raises ConfigError: unknown trunk or layer
    :raises TrainingError: the weights cannot be read or do not fit
    """
    if name not in TRUNKS:
        raise ConfigError(f'unknown trunk {name!r}{suggest(name, TRUNKS)}')
    family = TRUNKS[name]
    model = family.build(weights=None).eval()
    if weights is not None:
        _load_weights(model, weights)
    return family.walk(model).cut_after(cut or family.cut)


def _load_weights(model: nn.Module, path: Path) -> None:
    """Fill a torchvision model from a safetensors file; nothing is ever unpickled."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        missing, unexpected = model.load_state_dict(load_file(str(path)), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f'cannot use the weights {path}: {error}') from error
    missing = [key for key in missing if not key.startswith(('classifier', 'fc'))]
    if missing or unexpected:
        raise TrainingError(
            f'{path} does not fit this trunk: {len(missing)} keys missing '
            f'({", ".join(missing[:3])}), {len(unexpected)} unexpected '
            f'({", ".join(unexpected[:3])}); torchvision key names are needed')
