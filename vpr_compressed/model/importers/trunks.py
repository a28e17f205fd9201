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
Rebuild torchvision trunks from the tensors of a checkpoint, with whatever channels those have.

The families cut ``torchvision.models`` into an ``nn.Sequential``, so layers have numbers. They
are put back under torchvision's names here and walked by :mod:`vpr_compressed.model.backbones`,
which folds batch norm; recipes that name layers fit imported networks, too.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import re
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model.backbones import Trunk
from vpr_compressed.model.backbones import TRUNKS
from vpr_compressed.model.importers.state_dict import StateDict

#: Places of convolutions and max pools in ``vgg16().features``.
VGG16_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG16_POOLS = (4, 9, 16, 23)
_VGG16_LAYERS = 29
#: Places of the stages in ``resnet18().children()``: conv1, bn1, relu, maxpool, layer1 ...
_RESNET_STAGES = (4, 5, 6, 7)

ConvTensors = tuple[NDArray[np.float32], NDArray[np.float32] | None]


def vgg16_trunk(convs: Mapping[int, ConvTensors]) -> Trunk:
    """
    Return VGG16 up to conv5_3, whose output keeps no ReLU.

    :param convs: place in ``features`` -> weight ``(O, I, 3, 3)`` and bias ``(O,)``
    :raises ModelFileError: if layers are missing or do not fit each other
    """
    if tuple(sorted(convs)) != VGG16_CONVS:
        raise ModelFileError(
            f'the trunk has convolutions at {sorted(convs)}; VGG16 has them at '
            f'{list(VGG16_CONVS)}')
    features: list[nn.Module] = [nn.ReLU() for _ in range(_VGG16_LAYERS)]
    for place in _VGG16_POOLS:
        features[place] = nn.MaxPool2d(2)
    channels = 3
    for place, (weight, bias) in sorted(convs.items()):
        if weight.ndim != 4 or weight.shape[1:] != (channels, 3, 3) or (
                bias is None or bias.shape != weight.shape[:1]):
            raise ModelFileError(
                f'convolution {place} of the trunk has weights of shape {weight.shape} and a bias '
                f'of shape {None if bias is None else bias.shape}; VGG16 needs '
                f'(O, {channels}, 3, 3) and (O,) there')
        features[place] = _conv(weight, bias)
        channels = len(weight)
    family = TRUNKS['vgg16']
    return family.walk(SimpleNamespace(features=features)).cut_after(family.cut)


def sequential_trunk(weights: StateDict, prefix: str, family: str) -> tuple[str, Trunk]:
    """
    Return name and layers of a trunk kept as ``nn.Sequential``.

    :param prefix: what the names of its tensors begin with
    :param family: whose checkpoint it is, for errors
    :raises ModelFileError: neither VGG16 nor ResNet18
    """
    names = weights.below(prefix)
    if not names:
        raise ModelFileError(
            f'{weights.path} has no tensors below {prefix!r}, which family {family!r} needs; it '
            f'has {weights.describe()}')
    if any(re.match(r'\d+\.\d+\.conv', name) for name in names):
        return 'resnet18', _resnet18_trunk(weights, prefix, family)
    places = sorted({int(found.group(1)) for name in names
                     if (found := re.fullmatch(r'(\d+)\.weight', name))})
    if tuple(places) != VGG16_CONVS:
        raise ModelFileError(
            f'{weights.path} has a trunk with weights at {places} below {prefix!r}; VGG16 has '
            f'them at {list(VGG16_CONVS)}, ResNet18 has blocks such as "4.0.conv1.weight". '
            'Other trunks cannot be imported')
    return 'vgg16', vgg16_trunk({
        place: (weights.take(f'{prefix}{place}.weight', family),
                weights.take(f'{prefix}{place}.bias', family)) for place in places})


def _resnet18_trunk(weights: StateDict, prefix: str, family: str) -> Trunk:
    """Return ResNet18 up to its third or fourth stage, as far as the checkpoint has it."""
    names = weights.below(prefix)
    stages = [place for place in _RESNET_STAGES
              if any(name.startswith(f'{place}.') for name in names)]
    blocks = {name.rpartition('.conv')[0] for name in names
              if re.fullmatch(r'\d+\.\d+\.conv\d\.weight', name)}
    wanted = {f'{stage}.{block}' for stage in stages for block in (0, 1)}
    if blocks != wanted or any('.conv3.' in name for name in names) or len(stages) < 3:
        raise ModelFileError(
            f'{weights.path} has residual blocks {sorted(blocks)} below {prefix!r}; only '
            'ResNet18 can be imported: three or four stages of two blocks with two 3x3 '
            'convolutions each')

    def conv(name: str, stride: int = 1) -> nn.Conv2d:
        return _conv(weights.take(f'{prefix}{name}.weight', family), None, stride)

    def norm(name: str) -> SimpleNamespace:
        fields = {key: torch.from_numpy(weights.take(f'{prefix}{name}.{key}', family))
                  for key in ('weight', 'bias', 'running_mean', 'running_var')}
        return SimpleNamespace(**fields, eps=1e-5)

    model = SimpleNamespace(
        conv1=conv('0', 2), bn1=norm('1'), maxpool=nn.MaxPool2d(3, 2, 1))
    for number, place in enumerate(_RESNET_STAGES, start=1):
        setattr(model, f'layer{number}', [
            _block(f'{place}.{block}', names, conv, norm, 2 if number > 1 and not block else 1)
            for block in (0, 1)] if place in stages else [])
    return TRUNKS['resnet18'].walk(model)


def _block(
    name: str, names: list[str], conv: Callable[..., nn.Conv2d],
    norm: Callable[[str], SimpleNamespace], stride: int
) -> SimpleNamespace:
    """Return a residual block as torchvision names its parts."""
    shortcut = None
    if f'{name}.downsample.0.weight' in names:
        shortcut = [conv(f'{name}.downsample.0', stride), norm(f'{name}.downsample.1')]
    return SimpleNamespace(
        conv1=conv(f'{name}.conv1', stride), bn1=norm(f'{name}.bn1'),
        conv2=conv(f'{name}.conv2'), bn2=norm(f'{name}.bn2'), downsample=shortcut)


def _conv(
    weight: NDArray[np.float32], bias: NDArray[np.float32] | None, stride: int = 1
) -> nn.Conv2d:
    """Return a convolution that keeps the image size but for its stride."""
    outputs, inputs, kernel = weight.shape[:3]
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias is not None,
                     device='meta')
    conv.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)
    return conv
