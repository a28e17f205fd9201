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

"""The reference engine: the torch network, for comparison only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import torch

from vpr_compressed.model.network import VprNetwork
from vpr_compressed.model_file import Model
from vpr_compressed.runtime.torch_integers import IntegerNetwork


class TorchEngine:
    """
    Run a model with torch in float32, and in integers where its activations are rounded.

    :param model: what to run; its weights are expanded to float32
    :param threads: CPU threads, 0 for torch's default; torch has one setting per process
    """

    name = 'torch'

    def __init__(self, model: Model, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        if model.activations:
            self._network: VprNetwork = IntegerNetwork(model)
        else:
            self._network = VprNetwork(model.spec)
            self._network.load_tensors({name: model.float_tensor(name) for name in model.tensors})
        self._network.eval()

    def describe(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Describe one pre-processed image.

        :param images: float32 ``(1, 3, h, w)``
        :returns: descriptor, float32 ``(D,)``, unit norm
        """
        with torch.inference_mode():
            result: NDArray[np.float32] = self._network(torch.from_numpy(images))[0].numpy()
        return result
