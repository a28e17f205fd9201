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
A model as a file of PyTorch tensors for other software.

``torch.load(path, weights_only=True)`` gives a dictionary of plain data: ``format``, ``version``,
``spec`` (:meth:`.spec.NetworkSpec.to_json`: every layer of the trunk with its inputs, stride,
padding and activation), ``preprocessing`` (width, height, and mean and std of
``(pixel / 255 - mean) / std`` on RGB), ``calibration``, ``descriptor_id``, ``provenance``, and
``state_dict``: name -> float32 tensor as the spec names and shapes them, int8 and shared
weights expanded. :mod:`.network` and :mod:`.netvlad` say how they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.network.torch_engine import TorchEngine

FORMAT = 'vpr_compressed state dict'
VERSION = 1


def write_torch(model: Model, path: Path) -> None:
    """
    Write the weights of a model as float32 tensors; ranges of activations are left out.

    :param path: overwritten
    :raises ModelFileError: if it cannot be written
    """
    content = {
        'format': FORMAT, 'version': VERSION, 'spec': model.spec.to_json(),
        'preprocessing': model.preprocessing.to_json(), 'calibration': model.calibration.to_json(),
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
    network = VprNetwork(NetworkSpec.from_json(content['spec']))
    network.load_tensors({name: tensor.numpy() for name, tensor in content['state_dict'].items()})
    return TorchEngine(network)
