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

"""Engines that turn a ``.vpr`` model into descriptors; nothing here imports torch unasked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import suggest
from vpr_compressed.errors import EngineError

if TYPE_CHECKING:
    from vpr_compressed.model_file import Model


class Engine(Protocol):
    """Runs one network."""

    name: str

    def describe(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Describe one pre-processed image.

        :param images: float32 ``(1, 3, h, w)``
        :returns: descriptor, float32 ``(D,)``, unit norm
        """
        ...


def _onnxruntime(model: Model, threads: int) -> Engine:
    """Load the default engine."""
    from vpr_compressed.runtime.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, threads)


def _torch(model: Model, threads: int) -> Engine:
    """Load the reference engine; torch alone takes about 220 MB of memory."""
    from vpr_compressed.runtime.torch_engine import TorchEngine

    return TorchEngine(model, threads)


#: Engine name -> loader; the first is the default.
ENGINES: dict[str, Callable[[Model, int], Engine]] = {
    'onnxruntime': _onnxruntime, 'torch': _torch}


def load_engine(model: Model, name: str = 'onnxruntime', threads: int = 0) -> Engine:
    """
    Prepare a network for running.

    :param name: one of :data:`ENGINES`
    :param threads: CPU threads; 0 takes all cores
    :raises EngineError: unknown engine, engine not installed, or it refuses the network
    """
    if name not in ENGINES:
        raise EngineError(f'unknown engine {name!r}{suggest(name, ENGINES)}')
    if threads < 0:
        raise EngineError(f'threads must be 0 (all cores) or more, got {threads}')
    try:
        return ENGINES[name](model, threads)
    except ImportError as error:
        raise EngineError(
            f'engine {name!r} is not installed ({error}); install it with pip, or choose one '
            f'of {", ".join(ENGINES)}') from error
