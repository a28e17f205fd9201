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
are put back under torchvision's names here, with the batch norm folded as in
:mod:`vpr_compressed.offline.network.backbones`; recipes that name layers
fit imported networks, too.
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
from vpr_compressed.offline.importers.checkpoint_files import StateDict
from vpr_compressed.offline.network.backbones import Trunk
from vpr_compressed.offline.network.backbones import TRUNKS

#: Places of convolutions and max pools in ``vgg16().features``.
VGG16_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG16_POOLS = (4, 9, 16, 23)
_VGG16_LAYERS = 29
#: Places of the stages in ``resnet18().children()``: conv1, bn1, relu, maxpool, layer1 ...
_RESNET_STAGES = (4, 5, 6, 7)
#: Convolutions of a block, and blocks of the first three stages -> name.
_RESNETS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): 'resnet18', (2, 3, 4, 6): 'resnet34', (3, 3, 4, 6): 'resnet50',
    (3, 3, 4, 23): 'resnet101'}

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
    :raises ModelFileError: neither VGG16 nor a ResNet
    """
    names = weights.below(prefix)
    if not names:
        raise ModelFileError(
            f'{weights.path} has no tensors below {prefix!r}, which family {family!r} needs; it '
            f'has {weights.describe()}')
    if any(re.match(r'\d+\.\d+\.conv', name) for name in names):
        return _resnet_trunk(weights, prefix, family)
    places = sorted({int(found.group(1)) for name in names
                     if (found := re.fullmatch(r'(\d+)\.weight', name))})
    if tuple(places) != VGG16_CONVS:
        raise ModelFileError(
            f'{weights.path} has a trunk with weights at {places} below {prefix!r}; VGG16 has '
            f'them at {list(VGG16_CONVS)}, a ResNet has blocks such as "4.0.conv1.weight". '
            'Other trunks cannot be imported')
    return 'vgg16', vgg16_trunk({
        place: (weights.take(f'{prefix}{place}.weight', family),
                weights.take(f'{prefix}{place}.bias', family)) for place in places})


def _resnet_trunk(weights: StateDict, prefix: str, family: str) -> tuple[str, Trunk]:
    """Return name and layers of a ResNet, as far as the checkpoint has its stages."""
    names = weights.below(prefix)
    stages = [len({name.split('.')[1] for name in names if re.match(rf'{place}\.\d+\.', name)})
              for place in _RESNET_STAGES]
    convs = 3 if '4.0.conv3.weight' in names else 2
    name = _RESNETS.get((convs, *stages[:3]))
    if name is None:
        raise ModelFileError(
            f'{weights.path} has stages of {stages} residual blocks with {convs} convolutions '
            f'below {prefix!r}; {", ".join(_RESNETS.values())} can be imported, with three or '
            'four stages')

    def conv(place: str, stride: int = 1) -> tuple[nn.Conv2d, SimpleNamespace]:
        """Return a convolution and the batch norm behind it."""
        kernel = weights.take(f'{prefix}{place}.weight', family)
        norm = '1' if place == '0' else place.replace('conv', 'bn').replace(
            'downsample.0', 'downsample.1')
        fields = {key: torch.from_numpy(weights.take(f'{prefix}{norm}.{key}', family))
                  for key in ('weight', 'bias', 'running_mean', 'running_var')}
        shapes = {tuple(value.shape) for value in fields.values()}
        if kernel.ndim != 4 or shapes != {kernel.shape[:1]}:
            raise ModelFileError(
                f'{weights.path}: {prefix}{place} has weights of shape {kernel.shape} and a batch '
                f'norm of shapes {sorted(shapes)}; (O, I, k, k) and (O,) are needed')
        return _conv(kernel, None, stride), SimpleNamespace(**fields, eps=1e-5)

    trunk = Trunk()
    trunk.conv('conv1', *conv('0', 2), activation='relu')
    trunk.pool('maxpool', nn.MaxPool2d(3, 2, 1))
    for number, (place, blocks) in enumerate(zip(_RESNET_STAGES, stages), start=1):
        for block in range(blocks):
            _add_block(trunk, f'layer{number}.{block}', f'{place}.{block}', conv, convs=convs,
                       stride=2 if number > 1 and block == 0 else 1,
                       shortcut=f'{place}.{block}.downsample.0.weight' in names)
    return name, trunk


def _add_block(
    trunk: Trunk, name: str, place: str,
    conv: Callable[..., tuple[nn.Conv2d, SimpleNamespace]], *, convs: int, stride: int,
    shortcut: bool
) -> None:
    """Add a residual block; torchvision strides at its first 3x3 convolution."""
    source = trunk.last
    strided = convs - 1
    for number in range(1, convs + 1):
        trunk.conv(f'{name}.conv{number}',
                   *conv(f'{place}.conv{number}', stride if number == strided else 1),
                   activation='relu' if number < convs else 'none')
    main = trunk.last
    if shortcut:
        source = trunk.conv(f'{name}.downsample', *conv(f'{place}.downsample.0', stride),
                            source=source)
    trunk.add(name, main, source, 'relu')


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
