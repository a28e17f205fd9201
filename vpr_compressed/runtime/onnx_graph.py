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
The ONNX graph of a model, built in memory from its specification and tensors.

An int8 projection stays int8: its input is quantised on the fly to uint8 and multiplied as
integers, so the largest matrix is never expanded to float. Where the model has activation
ranges, the trunk is written in the QDQ form (quantise and dequantise around float operations)
that ONNX Runtime turns into integer operations; NetVLAD stays float. All other weights are
expanded: the trunk is small, and ONNX Runtime would expand them for every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto

from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.runtime.integers import integer_conv
from vpr_compressed.runtime.integers import ranges_of
from vpr_compressed.runtime.integers import replaces_activation

OUTPUT = 'descriptor'
OPSET = 17
#: For the trunk alone: the last one whose Clip has no inputs, which OpenCV 4.5 cannot read.
_TRUNK_OPSET = 10
#: IR version of ONNX 1.12: old enough for every ONNX Runtime a robot may have.
_IR_VERSION = 8


def build_graph(model: Model) -> onnx.ModelProto:
    """
    Return the network as ONNX: ``image`` ``(1, 3, h, w)`` -> ``descriptor`` ``(1, D)``.

    :param model: weights in any precision
    """
    graph = Graph(model, OPSET)
    vector = _add_netvlad(graph, _add_trunk(graph))
    graph.normalized(_add_projection(graph, vector), OUTPUT, axis=1)
    return graph.finished(OUTPUT, [1, model.spec.dimension])


def build_trunk_graph(model: Model) -> onnx.ModelProto:
    """
    Return the trunk alone: ``image`` ``(1, 3, h, w)`` -> local features ``(1, C, H, W)``.

    :param model: weights in any precision
    """
    graph = Graph(model, _TRUNK_OPSET)
    return graph.finished(_add_trunk(graph), [
        1, model.spec.feature_channels, 'rows', 'columns'])


class Graph:
    """
    Nodes and constants of a graph in the making.

    :param model: gives weights, and the ranges of activations that are rounded to uint8
    :param opset: version of the operations
    """

    def __init__(self, model: Model, opset: int) -> None:
        self.model, self.opset = model, opset
        self.ranges = ranges_of(model)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        # np.ascontiguousarray would make a scalar a vector, and ONNX Runtime fuses an addition
        # only if its scales are scalars.
        self.constants.append(numpy_helper.from_array(np.asarray(values, order='C'), name))
        return name

    def weights(self, name: str) -> str:
        """Add a tensor of the model in float32 and return its name."""
        return self.constant(name, self.model.float_tensor(name))

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an operation with one output and return the output's name."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def normalized(self, vectors: str, output: str, *, axis: int) -> str:
        """
        Divide vectors by their L2 norm and return the output's name.

        Not ``LpNormalization``: OpenVINO adds an epsilon of its own to it, which changes the
        residuals of clusters that hardly any feature belongs to, and OpenCV does not know it.
        """
        norm = self.node('ReduceL2', [vectors], f'{output}.norm', axes=[axis], keepdims=1)
        least = self.constant(f'{output}.least', np.array(1e-12, np.float32))
        norm = self.node('Max', [norm, least], f'{output}.divisor')
        return self.node('Div', [vectors, norm], output)

    def rounded(self, name: str) -> str:
        """Return under which name later layers find an output."""
        return f'{name}.rounded' if name in self.ranges else name

    def round_to_range(self, name: str) -> None:
        """Round an output to its range, if it has one."""
        if name in self.ranges:
            found = self.ranges[name]
            span = [self.constant(f'{name}.scale', np.array(found.scale, np.float32)),
                    self.constant(f'{name}.zero', np.array(found.zero_point, np.uint8))]
            quantized = self.node('QuantizeLinear', [name, *span], f'{name}.q')
            self.node('DequantizeLinear', [quantized, *span], self.rounded(name))

    def expanded(
        self, name: str, values: NDArray[np.generic], scale: NDArray[np.float32]
    ) -> str:
        """Add integers with a scale for each output channel and return their float output."""
        inputs = [self.constant(f'{name}.q', values), self.constant(f'{name}.scale', scale),
                  self.constant(f'{name}.zero', np.zeros(len(scale), values.dtype))]
        return self.node('DequantizeLinear', inputs, name, axis=0)

    def finished(self, output: str, shape: list[int | str]) -> onnx.ModelProto:
        """Return the graph with its input and one output."""
        size = self.model.preprocessing
        image = helper.make_tensor_value_info(
            INPUT, TensorProto.FLOAT, [1, 3, size.height, size.width])
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
        proto = helper.make_model(
            helper.make_graph(self.nodes, 'vpr', [image], [result], self.constants),
            opset_imports=[helper.make_opsetid('', self.opset)], producer_name='vpr_compressed')
        proto.ir_version = _IR_VERSION
        return proto


def _add_trunk(graph: Graph) -> str:
    """Add all layers of the trunk and return the output of the last one."""
    graph.round_to_range(INPUT)
    for layer in graph.model.spec.layers:
        _add_layer(graph, layer)
    return graph.rounded(graph.model.spec.layers[-1].name)


def _add_layer(graph: Graph, layer: Layer) -> None:
    """Add one layer of the trunk; its output carries the layer's name."""
    cut_off = replaces_activation(layer, graph.ranges.get(layer.name))
    activation = 'none' if cut_off else layer.activation
    result = layer.name if activation == 'none' else f'{layer.name}.linear'
    sources = [graph.rounded(name) for name in layer.inputs]
    window = {'kernel_shape': [layer.kernel] * 2, 'strides': [layer.stride] * 2,
              'pads': [layer.padding] * 4}
    if layer.op == 'conv':
        graph.node('Conv', sources + _conv_constants(graph, layer), result, group=layer.groups,
                   **window)
    elif layer.op == 'add':
        graph.node('Add', sources, result)
    else:
        graph.node('MaxPool', sources, result, **window)
    if activation == 'relu':
        graph.node('Relu', [result], layer.name)
    elif activation == 'relu6' and graph.opset < 11:
        graph.node('Clip', [result], layer.name, min=0.0, max=6.0)
    elif activation == 'relu6':
        bounds = [graph.constant(f'{layer.name}.{name}', np.array(value, np.float32))
                  for name, value in (('low', 0.0), ('high', 6.0))]
        graph.node('Clip', [result, *bounds], layer.name)
    graph.round_to_range(layer.name)


def _conv_constants(graph: Graph, layer: Layer) -> list[str]:
    """Add weight and bias of a convolution, as integers where it can run in them."""
    weight, bias = f'{layer.name}.weight', f'{layer.name}.bias'
    found = integer_conv(graph.model, layer, graph.ranges.get(layer.inputs[0]))
    if found is None:
        return [graph.weights(weight), graph.weights(bias)]
    return [graph.expanded(weight, found.weight.values, found.weight.scale),
            graph.expanded(bias, found.bias, found.scale)]


def _add_netvlad(graph: Graph, features: str) -> str:
    """Add NetVLAD in its residual-free form and return its output, ``(1, K * C)``."""
    spec = graph.model.spec
    flat = graph.node('Reshape', [features, graph.constant(
        'netvlad.flat', np.array([spec.feature_channels, -1], np.int64))], 'netvlad.features')
    x = graph.normalized(flat, 'netvlad.x', axis=0)                             # (C, N)
    scores = graph.node(
        'MatMul', [graph.weights('netvlad.assignment.weight'), x], 'netvlad.product')  # (K, N)
    bias = graph.constant('netvlad.assignment.bias',
                          graph.model.float_tensor('netvlad.assignment.bias').reshape(-1, 1))
    scores = graph.node('Add', [scores, bias], 'netvlad.scores')
    weights = graph.node('Softmax', [scores], 'netvlad.weights', axis=0)        # (K, N)
    places = graph.node('Transpose', [x], 'netvlad.places', perm=[1, 0])        # (N, C)
    weighted = graph.node('MatMul', [weights, places], 'netvlad.weighted')      # (K, C)
    mass = graph.node('ReduceSum', [weights, graph.constant(
        'netvlad.axis', np.array([1], np.int64))], 'netvlad.mass')              # (K, 1)
    offset = graph.node('Mul', [mass, graph.weights('netvlad.centers')], 'netvlad.offset')
    residuals = graph.node('Sub', [weighted, offset], 'netvlad.residuals')      # (K, C)
    intra = graph.normalized(residuals, 'netvlad.intra', axis=1)
    vector = graph.node('Reshape', [intra, graph.constant(
        'netvlad.shape', np.array([1, spec.clusters * spec.feature_channels], np.int64))],
        'netvlad.vector')
    return graph.normalized(vector, 'netvlad', axis=1)


def _add_projection(graph: Graph, vector: str) -> str:
    """Add the projection and return its output, ``(1, D)``."""
    weight = graph.model.tensors['projection.weight']
    bias = graph.weights('projection.bias')
    if not isinstance(weight, QuantizedTensor):
        matrix = graph.weights('projection.weight')
        return graph.node('Gemm', [vector, matrix, bias], 'projection', transB=1)
    graph.nodes.append(helper.make_node(
        'DynamicQuantizeLinear', [vector], ['vector.q', 'vector.scale', 'vector.zero'],
        name='vector.quantize'))
    matrix = graph.constant('projection.weight', weight.values.T)               # (K * C, D)
    product = graph.node('MatMulInteger', ['vector.q', matrix, 'vector.zero'], 'projection.sum')
    product = graph.node('Cast', [product], 'projection.float', to=TensorProto.FLOAT)
    scale = graph.node('Mul', ['vector.scale', graph.constant(
        'projection.scale', weight.scale)], 'projection.gain')
    product = graph.node('Mul', [product, scale], 'projection.product')
    return graph.node('Add', [product, bias], 'projection')
