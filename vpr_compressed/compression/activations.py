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

"""Ranges of what flows between the layers, for uint8 activations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.compression.student import Student
from vpr_compressed.model.network import VprNetwork
from vpr_compressed.model.spec import INPUT
from vpr_compressed.model.spec import Layer
from vpr_compressed.tensors import ActivationRange

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
