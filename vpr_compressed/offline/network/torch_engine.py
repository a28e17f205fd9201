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

"""The reference engine: the torch network, for comparison, and its weights as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.runtime.integers import integer_conv
from vpr_compressed.runtime.integers import IntegerConv
from vpr_compressed.runtime.integers import ranges_of
from vpr_compressed.runtime.integers import replaces_activation

FORMAT = 'vpr_compressed state dict'
VERSION = 1


class TorchEngine:
    """
    Run a network with torch in float32, and in integers where its activations are rounded.

    :param network: what to run
    :param threads: CPU threads, 0 for torch's default; torch has one setting per process
    """

    name = 'torch'

    def __init__(self, network: VprNetwork, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._network = network.eval()

    def describe(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe one pre-processed image, see :class:`.engines.Engine`."""
        with torch.inference_mode():
            result: NDArray[np.float32] = self._network(torch.from_numpy(images))[0].numpy()
        return result


def network_of(model: Model) -> VprNetwork:
    """Return the network of a model, its weights expanded to float32."""
    if model.activations:
        return IntegerNetwork(model)
    network = VprNetwork(model.spec)
    network.load_tensors({name: model.float_tensor(name) for name in model.tensors})
    return network


def write_torch(model: Model, path: Path) -> None:
    """
    Write a model as a file of PyTorch tensors for other software.

    ``torch.load(path, weights_only=True)`` gives a dictionary of plain data: ``format``,
    ``version``, ``spec`` (the fields of :class:`.spec.NetworkSpec`: every layer of the trunk with
    its inputs, stride, padding and activation), ``preprocessing`` (width, height, and mean and
    std of ``(pixel / 255 - mean) / std`` on RGB), ``decision``, ``descriptor_id``,
    ``provenance``, and ``state_dict``: name -> float32 tensor as the spec names and shapes them,
    int8 and shared weights expanded, ranges of activations left out. :mod:`.network` says how
    they are used.

    :param path: overwritten
    :raises ModelFileError: if it cannot be written
    """
    content = {
        'format': FORMAT, 'version': VERSION, 'spec': asdict(model.spec),
        'preprocessing': asdict(model.preprocessing), 'decision': asdict(model.calibration),
        # Without rounded activations it is another network, and has another id.
        'descriptor_id': replace(model, activations={}).descriptor_id,
        'provenance': dict(model.provenance),
        # A copy: the arrays of a model file are read-only views, which torch cannot have.
        'state_dict': {name: torch.from_numpy(np.array(model.float_tensor(name)))
                       for name in model.spec.tensor_shapes()}}
    try:
        torch.save(content, path)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f'cannot write {path}: {error}') from error


def read_torch(path: Path) -> TorchEngine:
    """
    Return an engine that runs an exported file.

    :raises ModelFileError: it is no such file
    """
    content: Any = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    if not isinstance(content, Mapping) or content.get('format') != FORMAT:
        raise ModelFileError(f'{path} is no {FORMAT}; write one with "export --format torch"')
    network = VprNetwork(config_from_mapping(NetworkSpec, content['spec']))
    network.load_tensors({name: tensor.numpy() for name, tensor in content['state_dict'].items()})
    return TorchEngine(network)


class IntegerNetwork(VprNetwork):
    """
    A model with rounded activations, for inference.

    Values between layers are float32 multiples of their scale, so integers are recovered exactly.

    :param model: gives weights and ranges
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model.spec)
        self.load_tensors({name: model.float_tensor(name) for name in model.tensors})
        self.activations = ranges_of(model)
        self._integers: dict[str, IntegerConv] = {}
        for layer in model.spec.layers:
            if layer.op == 'conv' and self._closes(layer):
                found = integer_conv(model, layer, self.activations.get(layer.inputs[0]))
                if found is not None:
                    self._integers[layer.name] = found

    def _run(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """Compute one layer of the trunk, in integers where an engine would."""
        if layer.name in self._integers:
            return self._conv(layer, inputs[0])
        if (layer.op == 'add' and self._closes(layer)
                and all(name in self.activations for name in layer.inputs)):
            return self._add(layer, inputs)
        return super()._run(layer, inputs)

    def _rounded(self, name: str, value: Tensor) -> Tensor:
        """Round an output to its range, as ONNX's ``QuantizeLinear`` does: by a division."""
        found = self.activations.get(name)
        return value if found is None else _on_grid(value / np.float32(found.scale), found)

    def _closes(self, layer: Layer) -> bool:
        """Tell whether a layer's output is rounded and its activation is part of that."""
        found = self.activations.get(layer.name)
        return found is not None and replaces_activation(layer, found)

    def _conv(self, layer: Layer, value: Tensor) -> Tensor:
        """Sum products of integers exactly, scale the sum in float32, round."""
        numbers, source = self._integers[layer.name], self.activations[layer.inputs[0]]
        found = self.activations[layer.name]
        # float64 holds every sum of products and is the only type torch convolves them in.
        total = functional.conv2d(
            (value / np.float32(source.scale)).round().double(),
            torch.from_numpy(numbers.weight.values.astype(np.float64)),
            torch.from_numpy(numbers.bias.astype(np.float64)), layer.stride, layer.padding,
            groups=layer.groups)
        gain = torch.from_numpy(numbers.scale / np.float32(found.scale)).view(1, -1, 1, 1)
        return _on_grid(total.float() * gain, found)

    def _add(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """
        Add two rounded values, each scaled to the output's range.

        Two fused multiply-adds in float32 on the stored integers, zero points subtracted last, as
        ONNX Runtime does; sums in another order fall on the other side of a half in one value of
        ten thousand.
        """
        found = self.activations[layer.name]
        terms = []
        offset = np.float32(0.0)
        for name, value in zip(layer.inputs, inputs, strict=True):
            source = self.activations[name]
            gain = np.float32(source.scale) / np.float32(found.scale)
            stored = (value / np.float32(source.scale)).round() + source.zero_point
            # The product is exact in float64, so this rounds once, like a fused operation.
            terms.append(stored.double() * float(gain))
            offset += gain * np.float32(source.zero_point)
        total = (terms[1] + float(np.float32(found.zero_point) - offset)).float()
        total = (terms[0] + total.double()).float()
        return _on_grid(total.round() - found.zero_point, found)


def _on_grid(value: Tensor, found: ActivationRange) -> Tensor:
    """Return multiples of the scale, float32, of values in units of it."""
    whole = (value.round() + found.zero_point).clamp(0, 255) - found.zero_point
    scaled: Tensor = whole * np.float32(found.scale)
    return scaled
