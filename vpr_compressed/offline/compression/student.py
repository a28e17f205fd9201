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
The network being compressed: its weights, what they must obey, and how it is stored.

While weights are trained zeros stay, and shared values are shared. The network always holds
ordinary dense weights. Around every optimiser step the constraints write the weights they allow
into it and turn the gradients of the weights into those of what is really trained. A masked
network and a pruned one are therefore the same network.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.model_file.tensors import Tensor as StoredTensor
from vpr_compressed.offline.compression.codebook import Codebook
from vpr_compressed.offline.network.network import network_of


class Constraints:
    """Masks and codebooks by tensor name."""

    def __init__(self) -> None:
        #: bool, True where a weight is pruned.
        self.pruned: dict[str, Tensor] = {}
        self.codebooks: dict[str, Codebook] = {}
        #: Full-precision weights behind a codebook while its members may still move.
        self.latent: dict[str, nn.Parameter] = {}

    def prune(self, name: str, pruned: Tensor) -> None:
        """
        Keep weights at zero from now on; those pruned before stay pruned.

        :param pruned: bool, shape of the tensor
        """
        before = self.pruned.get(name)
        self.pruned[name] = pruned if before is None else pruned | before

    def trained(self) -> Iterable[tuple[str, list[nn.Parameter]]]:
        """Yield the parameters trained in place of each shared tensor."""
        for name, book in self.codebooks.items():
            yield name, [self.latent[name]] if name in self.latent else book.parameters()

    def begin_moving(self, named: Mapping[str, nn.Parameter], names: Iterable[str]) -> None:
        """
        Let members of codebooks change their shared value, starting from full weights.

        :param named: the network's parameters with the weights before sharing
        """
        for name in names:
            self.latent[name] = nn.Parameter(named[name].detach().clone())

    def write(self, named: Mapping[str, nn.Parameter]) -> None:
        """Write the weights the constraints allow into the network."""
        with torch.no_grad():
            for name, mask in self.pruned.items():
                if name not in self.codebooks:
                    named[name].masked_fill_(mask, 0.0)
            for name, book in self.codebooks.items():
                if name in self.latent:
                    book.assign(self.latent[name].detach(), self.pruned.get(name))
                book.settle()
                named[name].copy_(book.weight())

    def pull(self, named: Mapping[str, nn.Parameter]) -> None:
        """Pass the gradients of the network on to what is trained; frozen tensors have none."""
        for name, mask in self.pruned.items():
            gradient = named[name].grad
            if gradient is not None:
                gradient.masked_fill_(mask, 0.0)
        for name, book in self.codebooks.items():
            gradient = named[name].grad
            if name in self.latent:
                self.latent[name].grad = gradient
            elif gradient is not None:
                book.pull(gradient)

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.pruned = {name: mask.to(device) for name, mask in self.pruned.items()}
        for book in self.codebooks.values():
            book.to(device)
        for value in self.latent.values():
            value.data = value.data.to(device)

    def state(self) -> dict[str, Any]:
        """Return everything as tensors, for a checkpoint."""
        return {
            'pruned': dict(self.pruned),
            'codebooks': {name: book.state() for name, book in self.codebooks.items()},
            'latent': {name: value.detach() for name, value in self.latent.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state`; what a missing entry raises is left to the student."""
        self.pruned = dict(state['pruned'])
        self.codebooks = {
            name: Codebook.from_state(book) for name, book in state['codebooks'].items()}
        self.latent = {name: nn.Parameter(value) for name, value in state['latent'].items()}


class Student:
    """
    A network with constraints on its weights.

    :param spec: shape of the network
    :param tensors: its float weights
    :param preprocessing: input size and normalisation
    """

    def __init__(
        self, spec: NetworkSpec, tensors: Mapping[str, NDArray[np.float32]],
        preprocessing: PreprocessingSpec
    ) -> None:
        self.preprocessing = preprocessing
        self.constraints = Constraints()
        self.network = network_of(spec, tensors)

    @classmethod
    def of_model(cls, model: Model) -> Student:
        """Return the float form of a model file as the starting point of a compression."""
        return cls(model.spec, {name: model.float_tensor(name) for name in model.tensors},
                   model.preprocessing)

    @property
    def spec(self) -> NetworkSpec:
        """Shape of the network."""
        return self.network.spec

    def reshape(self, spec: NetworkSpec, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """
        Become another network.

        :raises TrainingError: if single weights are pruned or shared already
        """
        if self.constraints.pruned or self.constraints.codebooks or self.network.activations:
            raise TrainingError(
                'the network cannot change its shape after weights were pruned or shared')
        self.network = network_of(spec, tensors)

    def write(self) -> None:
        """Bring the weights of the network in line with the constraints."""
        self.constraints.write(self.network.named_tensors())

    def model(self) -> Model:
        """
        Return the network as it is stored; what is neither shared nor pruned stays float.

        Once weights are shared, what is left (biases, a few small tensors) is stored in float16.
        """
        self.write()
        tensors: dict[str, StoredTensor] = dict(self.network.tensors())
        rest = np.float16 if self.constraints.codebooks else np.float32
        for name, values in tensors.items():
            book = self.constraints.codebooks.get(name)
            tensors[name] = book.stored() if book is not None else np.asarray(values, rest)
        return Model(
            spec=self.spec, preprocessing=self.preprocessing, tensors=tensors,
            activations=dict(self.network.activations))

    def state(self) -> dict[str, Any]:
        """Return everything a checkpoint needs."""
        return {
            'spec': asdict(self.spec),
            'tensors': {name: torch.from_numpy(value)
                        for name, value in self.network.tensors().items()},
            'constraints': self.constraints.state(),
            'activations': {name: (found.scale, found.zero_point)
                            for name, found in self.network.activations.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """
        Restore :meth:`state`.

        :raises TrainingError: if it is incomplete
        """
        try:
            self.network = network_of(
                config_from_mapping(NetworkSpec, state['spec']),
                {name: value.numpy() for name, value in state['tensors'].items()})
            self.constraints.load_state(state['constraints'])
            self.constraints.to(self.network.projection.weight.device)
            self.network.activations = {
                name: ActivationRange(scale, zero)
                for name, (scale, zero) in state['activations'].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f'the checkpoint is incomplete ({error!r}); start again with another --out'
            ) from error
