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

"""A small network with random weights: every layer kind, milliseconds to run."""

from __future__ import annotations

import numpy as np

from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec


def make_tiny_spec() -> NetworkSpec:
    """Return a network with every kind of layer and a 16-D descriptor."""
    return NetworkSpec(trunk='tiny', clusters=4, dimension=16, layers=(
        Layer(name='stem', op='conv', inputs=(INPUT,), channels=8, kernel=5, stride=4, padding=2,
              activation='relu'),
        Layer(name='pool', op='max_pool', inputs=('stem',), channels=8, kernel=2, stride=2),
        Layer(name='deep', op='conv', inputs=('pool',), channels=8, kernel=3, padding=1,
              groups=8, activation='relu6'),
        Layer(name='point', op='conv', inputs=('deep',), channels=8),
        Layer(name='sum', op='add', inputs=('pool', 'point'), channels=8)))


def make_tiny_model(seed: int = 3) -> Model:
    """Return the tiny network with random weights, int8."""
    random = np.random.default_rng(seed)
    spec = make_tiny_spec()
    tensors = {name: random.standard_normal(shape).astype(np.float32)
               for name, shape in spec.tensor_shapes().items()}
    return Model(
        spec=spec, preprocessing=PreprocessingSpec(width=64, height=48), tensors=tensors,
        calibration=DecisionCalibration(fitted_on='textures'),
        provenance={'made_by': 'the tests'}).with_precision('int8')
