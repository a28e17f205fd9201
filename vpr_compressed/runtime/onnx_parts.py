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

"""Parts an ONNX graph is put together from: nodes, constants, rounded activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import numpy_helper

from vpr_compressed.model.spec import Layer
from vpr_compressed.model_file import Model
from vpr_compressed.runtime.integers import integer_conv
from vpr_compressed.runtime.integers import ranges_of
from vpr_compressed.runtime.integers import replaces_activation


class Graph:
    """
    Nodes and constants of a graph in the making.

    :param opset: version of the operations
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        # np.ascontiguousarray would make a scalar a vector, and ONNX Runtime fuses an addition
        # only if its scales are scalars.
        self.constants.append(numpy_helper.from_array(np.asarray(values, order='C'), name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an operation with one output and return the output's name."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output


class Rounding:
    """
    Activations of a model that are rounded to uint8.

    :param graph: where the operations go
    :param model: has the ranges
    """

    def __init__(self, graph: Graph, model: Model) -> None:
        self._graph = graph
        self._model = model
        self._ranges = ranges_of(model)

    def source(self, name: str) -> str:
        """Return under which name later layers find an output."""
        return f'{name}.rounded' if name in self._ranges else name

    def add(self, name: str) -> None:
        """Round an output to its range, if it has one."""
        if name not in self._ranges:
            return
        found = self._ranges[name]
        span = [self._graph.constant(f'{name}.scale', np.array(found.scale, np.float32)),
                self._graph.constant(f'{name}.zero', np.array(found.zero_point, np.uint8))]
        quantized = self._graph.node('QuantizeLinear', [name, *span], f'{name}.q')
        self._graph.node('DequantizeLinear', [quantized, *span], self.source(name))

    def replaces_activation(self, layer: Layer) -> bool:
        """Tell whether rounding alone cuts an output off where its activation would."""
        return replaces_activation(layer, self._ranges.get(layer.name))

    def conv_constants(self, layer: Layer) -> list[str]:
        """Return weight and bias of a convolution in integers, none where it runs in float."""
        found = integer_conv(self._model, layer, self._ranges.get(layer.inputs[0]))
        if found is None:
            return []
        return [
            self._expanded(f'{layer.name}.weight', found.weight.values, found.weight.scale),
            self._expanded(f'{layer.name}.bias', found.bias, found.scale)]

    def _expanded(
        self, name: str, values: NDArray[np.generic], scale: NDArray[np.float32]
    ) -> str:
        """Add integers with a scale for each output channel and return their float output."""
        inputs = [
            self._graph.constant(f'{name}.q', values),
            self._graph.constant(f'{name}.scale', scale),
            self._graph.constant(f'{name}.zero', np.zeros(len(scale), values.dtype))]
        return self._graph.node('DequantizeLinear', inputs, name, axis=0)
