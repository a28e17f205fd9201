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
The engines of a workshop: those of a robot, and torch, which the others are compared with.

torch alone takes about 220 MB of memory, so nothing that a robot runs knows of it.
"""

from __future__ import annotations

from functools import partial

from vpr_compressed.model_file.model import Model
from vpr_compressed.runtime import extractor
from vpr_compressed.runtime.engines import Engine
from vpr_compressed.runtime.engines import EngineKind
from vpr_compressed.runtime.engines import ENGINES

TORCH = 'torch'


def _torch(model: Model, threads: int) -> Engine:
    """Load the reference engine."""
    from vpr_compressed.offline.network.torch_engine import network_of
    from vpr_compressed.offline.network.torch_engine import TorchEngine

    return TorchEngine(network_of(model), threads)


ALL_ENGINES = ENGINES.joined_by(
    EngineKind(name=TORCH, load=_torch, packages=('torch',), graph='none'))
#: As those of :mod:`.extractor`, on torch if asked for; ``auto`` never stands for it.
load_extractor = partial(extractor.load_extractor, engines=ALL_ENGINES)
resolve_engine = partial(extractor.resolve_engine, engines=ALL_ENGINES)
