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

"""What is known of engines before they are loaded, and which of them a robot has."""

from __future__ import annotations

import dataclasses

import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import EngineError
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.offline.network.engines import TORCH
from vpr_compressed.runtime.engines import AUTO
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.engines import FLOAT


def test_a_workshop_has_the_engines_of_a_robot_and_torch_behind_them() -> None:
    """The order is that of tables and of the default."""
    assert ALL_ENGINES.names == (*ENGINES.names, TORCH)


def test_a_robot_does_not_know_torch() -> None:
    """It would take more memory than the whole node."""
    ALL_ENGINES.check(TORCH)
    with pytest.raises(EngineError, match=r"unknown engine 'torch'; known: auto, onnxruntime"):
        ENGINES.check(TORCH)


@pytest.mark.parametrize('name', ALL_ENGINES.names)
def test_an_engine_without_integers_runs_a_rounded_model_in_float(name: str) -> None:
    """It is one of its own accord, or is told to be one by its name."""
    plain = make_tiny_model()
    rounded = dataclasses.replace(plain, activations={'stem': ActivationRange(0.1, 0)})
    kind, in_float = ALL_ENGINES.kind(name), ALL_ENGINES.kind(name + FLOAT)
    assert in_float.model_run(rounded).activations == {}
    assert in_float.name == kind.name
    assert kind.model_run(rounded).activations == (rounded.activations if kind.integers else {})


def test_auto_and_too_few_threads_load_nothing() -> None:
    """The first is a question, the second a mistake."""
    ENGINES.check(AUTO)
    with pytest.raises(EngineError, match='names no engine'):
        ENGINES.load(make_tiny_model(), AUTO)
    with pytest.raises(EngineError, match='threads must be 0'):
        ENGINES.load(make_tiny_model(), threads=-1)
