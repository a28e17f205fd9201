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

"""What a few images tell of a network: the means of its layers, and the ranges of their values."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.network.network import VprNetwork

#: Layer and output of a convolution, before its activation -> what replaces it, None for nothing.
Watch = Callable[[Layer, Tensor], Tensor | None]


@contextmanager
def watched_convolutions(network: VprNetwork, watch: Watch) -> Iterator[None]:
    """Call a function with the output of every convolution while the context lasts."""
    def hook_of(layer: Layer) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        return lambda _module, _inputs, output: watch(layer, output)

    handles = [conv.register_forward_hook(hook_of(layer))
               for layer, conv in convolutions(network).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def convolutions(network: VprNetwork) -> dict[Layer, nn.Conv2d]:
    """Return the convolutions of a trunk by their layers, in order."""
    layers = [layer for layer in network.spec.layers if layer.op == 'conv']
    modules = [module for module in network.convs.values() if isinstance(module, nn.Conv2d)]
    return dict(zip(layers, modules, strict=True))


@torch.inference_mode()
def mean_outputs(network: VprNetwork, images: Tensor) -> dict[Layer, Tensor]:
    """
    Return the mean output of every convolution, before its activation.

    :param images: normalised, ``(B, 3, h, w)``; all at once, so that layers can be corrected in
        one pass
    :returns: layer -> ``(channels,)``
    """
    means: dict[Layer, Tensor] = {}

    def watch(layer: Layer, output: Tensor) -> None:
        means[layer] = output.mean(dim=(0, 2, 3))
    with watched_convolutions(network, watch):
        network.features(images)
    return means


def correct_biases(network: VprNetwork, wanted: dict[Layer, Tensor], images: Tensor) -> None:
    """
    Move the biases so that every convolution has its old mean output, first to last.

    Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias Correction*, ICCV
    2019, in its empirical form. Depthwise networks need it most: nine weights of a filter have no
    others to average their errors away.

    :param network: with rounded weights; its biases are changed
    :param wanted: what :func:`mean_outputs` gave before the weights were rounded
    :param images: the same images
    """
    shifts: dict[Layer, Tensor] = {}

    def watch(layer: Layer, output: Tensor) -> Tensor:
        shifts[layer] = wanted[layer] - output.mean(dim=(0, 2, 3))
        # What comes after must see the corrected layer.
        return output + shifts[layer].view(1, -1, 1, 1)
    with watched_convolutions(network, watch), torch.inference_mode():
        network.features(images)
    with torch.no_grad():
        for layer, conv in convolutions(network).items():
            if conv.bias is not None:
                conv.bias.add_(shifts[layer].clone())


#: Values looked at per layer and batch: enough for a 99.99 % quantile, and bounded.
_SAMPLES = 20000


class _Watched(VprNetwork):
    """A network that keeps a sample of every layer's output."""

    samples: dict[str, list[Tensor]]

    def _run(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        value = super()._run(layer, inputs)
        self.samples.setdefault(layer.name, []).append(_sample(value))
        return value


def calibrate(
    student: Student, batches: Iterable[Tensor], percentile: float
) -> dict[str, ActivationRange]:
    """
    Return a range for the input and for the output of every layer of the trunk.

    :param batches: normalised images, ``(B, 3, h, w)``
    :param percentile: share of the values inside the range, in per cent
    """
    student.write()
    network = _Watched(student.spec)
    network.samples = {}
    network.load_tensors(student.network.tensors())
    network.to(student.network.projection.weight.device)
    with torch.inference_mode():
        for images in batches:
            network.samples.setdefault(INPUT, []).append(_sample(images))
            network.features(images)
    return {name: _range(torch.cat(values).numpy(), percentile)
            for name, values in network.samples.items()}


def _sample(values: Tensor) -> Tensor:
    """Return evenly spread values of a tensor, and its extremes."""
    flat = values.detach().float().flatten()
    step = max(1, flat.numel() // _SAMPLES)
    return torch.cat([flat[::step], flat.min().view(1), flat.max().view(1)]).cpu()


def _range(values: NDArray[np.float32], percentile: float) -> ActivationRange:
    """Return the uint8 range that holds a share of the values."""
    low, high = np.percentile(values, [100.0 - percentile, percentile])
    return ActivationRange.from_extremes(float(low), float(high))
