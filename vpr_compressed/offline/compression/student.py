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

"""The network being compressed: its weights, what they must obey, and how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.model_file.spec import SimilarityCalibration
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.model_file.tensors import Tensor
from vpr_compressed.offline.compression.constraints import Constraints
from vpr_compressed.offline.network.network import VprNetwork


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
        self.network = _network(spec, tensors)

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
        self.network = _network(spec, tensors)

    def write(self) -> None:
        """Bring the weights of the network in line with the constraints."""
        self.constraints.write(self.network.named_tensors())

    def model(
        self, *, calibration: SimilarityCalibration | None = None,
        provenance: Mapping[str, Any] | None = None, reference: NDArray[np.float16] | None = None
    ) -> Model:
        """
        Return the network as it is stored; what is neither shared nor pruned stays float.

        Once weights are shared, what is left (biases, a few small tensors) is stored in float16.
        """
        self.write()
        tensors: dict[str, Tensor] = dict(self.network.tensors())
        rest = np.float16 if self.constraints.codebooks else np.float32
        for name, values in tensors.items():
            book = self.constraints.codebooks.get(name)
            tensors[name] = book.stored() if book is not None else np.asarray(values, rest)
        return Model(
            spec=self.spec, preprocessing=self.preprocessing, tensors=tensors,
            calibration=calibration or SimilarityCalibration(), provenance=provenance or {},
            activations=dict(self.network.activations), reference=reference)

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
            self.network = _network(
                config_from_mapping(NetworkSpec, state['spec']),
                {name: value.numpy() for name, value in state['tensors'].items()})
            self.constraints.load_state(state['constraints'])
            self.constraints.to(self.network.projection.weight.device)
            self.network.activations = {
                name: ActivationRange(scale, zero)
                for name, (scale, zero) in state['activations'].items()}
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f'the checkpoint is incomplete ({error!r}); start again with another --out'
            ) from error


def _network(
    spec: NetworkSpec, tensors: Mapping[str, NDArray[np.float32]]
) -> VprNetwork:
    """Return a network with these weights on the device that is there."""
    network = VprNetwork(spec)
    network.load_tensors(tensors)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    return network.to(device).to(memory_format=torch.channels_last)
