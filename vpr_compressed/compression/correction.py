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
Bias correction: rounded weights shift the mean of what a convolution gives; the bias undoes it.

Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias Correction*, ICCV
2019, in its empirical form. Depthwise networks need it most: nine weights of a filter have no
others to average their errors away.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch import Tensor

from vpr_compressed.model.network import VprNetwork

#: Returns what a convolution's output is replaced by, or None to leave it.
_Watch = Callable[[str, nn.Conv2d, Tensor], Tensor | None]


def mean_outputs(network: VprNetwork, images: Tensor) -> dict[str, Tensor]:
    """
    Return the mean output of every convolution, before its activation.

    :param images: normalised, ``(B, 3, h, w)``; all at once, so that layers can be corrected in
        one pass
    :returns: module name -> ``(channels,)``
    """
    means: dict[str, Tensor] = {}

    def watch(name: str, conv: nn.Conv2d, output: Tensor) -> None:
        del conv
        means[name] = output.mean(dim=(0, 2, 3))
    with _watched(network, watch), torch.inference_mode():
        network.features(images)
    return means


def correct_biases(network: VprNetwork, wanted: dict[str, Tensor], images: Tensor) -> None:
    """
    Move the biases so that every convolution has its old mean output, first to last.

    :param network: with rounded weights; its biases are changed
    :param wanted: what :func:`mean_outputs` gave before the weights were rounded
    :param images: the same images
    """
    shifts: dict[str, Tensor] = {}

    def watch(name: str, conv: nn.Conv2d, output: Tensor) -> Tensor:
        del conv
        shifts[name] = wanted[name] - output.mean(dim=(0, 2, 3))
        # What comes after must see the corrected layer.
        return output + shifts[name].view(1, -1, 1, 1)
    with _watched(network, watch), torch.inference_mode():
        network.features(images)
    with torch.no_grad():
        for name, conv in network.convs.items():
            if isinstance(conv, nn.Conv2d) and conv.bias is not None:
                conv.bias.add_(shifts[name].clone())


@contextmanager
def _watched(network: VprNetwork, watch: _Watch) -> Iterator[None]:
    """Call a function with the output of every convolution while the context lasts."""
    handles = []
    for name, conv in network.convs.items():
        def hook(module: nn.Module, _: object, output: Tensor, *, name: str = name
                 ) -> Tensor | None:
            return watch(name, module, output)  # type: ignore[arg-type]
        handles.append(conv.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
