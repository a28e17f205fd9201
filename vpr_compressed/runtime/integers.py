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
Which layers of a model run in integers, and with which numbers; every engine asks here.

A convolution does if its input and output are rounded to uint8, its weights lie on an int8 grid
and its bias fits int32: ``y = round((sum(w * (x - zero_x)) + bias) * s_w * s_x / s_y) + zero_y``
(Jacob et al., CVPR 2018, with a float multiplier, as ONNX's ``QLinearConv`` has it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.model_file.tensors import QuantizedTensor

#: Largest int32 bias; leaves as much again for the sum of products.
_LARGEST_BIAS = 1 << 30


@dataclass(frozen=True)
class IntegerConv:
    """
    Numbers of a convolution whose input is rounded.

    :param weight: int8, output channels first
    :param bias: int32 ``(O,)``, in units of ``scale``
    :param scale: float32 ``(O,)``: what 1 in the sum of products stands for
    """

    weight: QuantizedTensor
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]


def ranges_of(model: Model) -> dict[str, ActivationRange]:
    """
    Return the ranges of the model, and those of max pools in between.

    A pool of rounded values is rounded already. Saying so changes no value but lets an engine
    pool integers.
    """
    ranges = dict(model.activations)
    for layer in model.spec.layers:
        if layer.op == 'max_pool' and layer.inputs[0] in ranges:
            ranges.setdefault(layer.name, ranges[layer.inputs[0]])
    return ranges


def replaces_activation(layer: Layer, found: ActivationRange | None) -> bool:
    """
    Tell whether rounding alone cuts an output off where its activation would.

    :param found: range of the layer's output, None if it is not rounded
    """
    if layer.activation == 'none':
        return True
    if found is None or found.zero_point:
        return False
    # The highest value may miss 6 by what float32 cannot tell.
    return layer.activation == 'relu' or 255 * found.scale <= 6.0 * (1 + 1e-6)


def integer_conv(model: Model, layer: Layer, found: ActivationRange | None) -> IntegerConv | None:
    """
    Return weight and bias of a convolution in integers, None where it must run in float.

    It must where its input is not rounded, its weights are not on an int8 grid, or its bias
    does not fit int32.

    :param found: range of the layer's input
    """
    weight = model.tensors[f'{layer.name}.weight']
    if found is None or not isinstance(weight, QuantizedTensor):
        return None
    scale = weight.scale * np.float32(found.scale)
    bias = np.rint(model.float_tensor(f'{layer.name}.bias').astype(np.float64) / scale)
    if not np.abs(bias).max() < _LARGEST_BIAS:
        return None
    return IntegerConv(weight, bias.astype(np.int32), scale)
