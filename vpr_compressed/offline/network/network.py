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

"""The torch network, built from a :class:`NetworkSpec` alone."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.system.machine import cpu_facts

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    'none': lambda x: x, 'relu': functional.relu, 'relu6': functional.relu6}


class NetVlad(nn.Module):
    """
    Soft-assigned aggregation of local features into one global vector, without residuals.

    Arandjelovic et al., CVPR 2016.

    :param clusters: number K of clusters
    :param channels: number C of feature channels
    """

    def __init__(self, clusters: int, channels: int) -> None:
        super().__init__()
        self.assignment = nn.Linear(channels, clusters)
        self.centers = nn.Parameter(torch.rand(clusters, channels))

    def forward(self, features: Tensor) -> Tensor:
        """
        Aggregate the local features of each image.

        :param features: trunk output, float, ``(B, C, H, W)``, not normalised
        :returns: ``(B, K * C)``, cluster-major, unit L2 norm
        """
        x = functional.normalize(features.flatten(2), dim=1).transpose(1, 2)  # (B, N, C)
        weights = self.assignment(x).softmax(dim=2)                          # (B, N, K)
        # sum_n w (x - c) = sum_n w x - c sum_n w: the (B, K, C, N) residuals, 45 MB an image
        # for 576 channels at 320 x 240, are never built.
        weighted = weights.transpose(1, 2) @ x                               # (B, K, C)
        residuals = weighted - weights.sum(dim=1).unsqueeze(2) * self.centers
        return functional.normalize(functional.normalize(residuals, dim=2).flatten(1), dim=1)


class VprNetwork(nn.Module):
    """
    Trunk, NetVLAD and projection.

    Weights start random; :meth:`load_tensors` fills them.

    ``activations`` maps the name of a layer, or ``image``, to the range its output is rounded to,
    as an int8 engine does; the gradient passes where the value lies within. Empty at first.

    :param spec: what to build
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        inputs = spec.input_channels()
        # Module names must not hold dots; tensors keep the dotted names of the specification.
        self.convs = nn.ModuleDict({
            _module_name(layer.name): nn.Conv2d(
                inputs[layer.name], layer.channels, layer.kernel, layer.stride, layer.padding,
                groups=layer.groups)
            for layer in spec.layers if layer.op == 'conv'})
        self.netvlad = NetVlad(spec.clusters, spec.feature_channels)
        self.projection = nn.Linear(spec.clusters * spec.feature_channels, spec.dimension)
        self._last_use = {name: index for index, layer in enumerate(spec.layers)
                          for name in layer.inputs}
        self._frozen = 0
        self.activations: dict[str, ActivationRange] = {}

    def freeze_layers(self, count: int) -> None:
        """Exclude the first ``count`` layers of the trunk from training and from backward."""
        self._frozen = count
        for index, layer in enumerate(self.spec.layers):
            if layer.op == 'conv':
                for parameter in self.convs[_module_name(layer.name)].parameters():
                    parameter.requires_grad_(index >= count)

    def features(self, images: Tensor) -> Tensor:
        """
        Run the trunk.

        :param images: normalised, float, ``(B, 3, h, w)``
        :returns: local features, ``(B, C, H, W)``
        """
        values = {INPUT: self._rounded(INPUT, images)}
        for index, layer in enumerate(self.spec.layers):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= self._frozen):
                inputs = [values[name] for name in layer.inputs]
                values[layer.name] = self._rounded(layer.name, self._run(layer, inputs))
            for name in layer.inputs:  # free what no later layer reads
                if self._last_use[name] == index:
                    values.pop(name, None)
        return values[self.spec.layers[-1].name]

    def forward(self, images: Tensor) -> Tensor:
        """
        Describe images.

        :param images: normalised, float, ``(B, 3, h, w)``
        :returns: descriptors, ``(B, D)``, unit norm
        """
        return self.head(self.features(images))

    def head(self, features: Tensor) -> Tensor:
        """Return the descriptors, ``(B, D)``, of local features ``(B, C, H, W)``."""
        return functional.normalize(self.projection(self.netvlad(features)), dim=1)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of the weights under the names of the specification."""
        return {name: parameter.detach().cpu().to(torch.float32).numpy().copy()
                for name, parameter in self.named_tensors().items()}

    def load_tensors(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """
        Fill the weights given; others keep their values.

        :param tensors: names of the specification -> float32 arrays of the right shapes
        """
        named = self.named_tensors()
        with torch.no_grad():
            for name, values in tensors.items():
                named[name].copy_(torch.from_numpy(np.array(values, np.float32)))

    def _run(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """Compute one layer of the trunk."""
        if layer.op == 'conv':
            value = self.convs[_module_name(layer.name)](inputs[0])
        elif layer.op == 'add':
            value = inputs[0] + inputs[1]
        else:
            value = functional.max_pool2d(inputs[0], layer.kernel, layer.stride, layer.padding)
        return _ACTIVATIONS[layer.activation](value)

    def _rounded(self, name: str, value: Tensor) -> Tensor:
        """Return an output as uint8 activations give it, its gradient passed through."""
        if name not in self.activations:
            return value
        found = self.activations[name]
        with torch.autocast(value.device.type, enabled=False):
            return torch.fake_quantize_per_tensor_affine(
                value.float(), found.scale, found.zero_point, 0, 255)

    def named_tensors(self) -> dict[str, nn.Parameter]:
        """Return the parameters under the names of the specification."""
        named: dict[str, nn.Parameter] = {}
        for layer in self.spec.layers:
            if layer.op == 'conv':
                module = self.convs[_module_name(layer.name)]
                named |= {f'{layer.name}.{key}': value
                          for key, value in module.named_parameters()}
        for part, module in (('netvlad', self.netvlad), ('projection', self.projection)):
            named |= {f'{part}.{key}': value for key, value in module.named_parameters()}
        return named


def network_of(spec: NetworkSpec, tensors: Mapping[str, NDArray[np.float32]]) -> VprNetwork:
    """Return a network with these weights on the GPU, if there is one, channels last."""
    network = VprNetwork(spec)
    network.load_tensors(tensors)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    return network.to(device).to(memory_format=torch.channels_last)


def fast_convolutions(device: torch.device) -> torch.autocast:
    """
    Return a context in which convolutions run in bfloat16 where that is fast.

    That is a GPU, or a CPU with AVX512-BF16 (2.3 times faster than float32 there). NetVLAD and
    the projection belong outside: their softmax is too sharp for 8 bits of mantissa.
    """
    if device.type == 'cuda':
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = 'avx512_bf16' in cpu_facts()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def _module_name(layer_name: str) -> str:
    """Return a layer's name as torch accepts it."""
    return layer_name.replace('.', '_')
