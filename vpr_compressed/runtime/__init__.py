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
import dataclasses
from importlib.util import find_spec
from typing import Protocol
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import suggest
from vpr_compressed.errors import EngineError

if TYPE_CHECKING:
    from vpr_compressed.model_file.model import Model

#: Let the engines race on this machine and take the fastest that computes the right thing.
AUTO = 'auto'
#: Behind the name of an engine: run a model with rounded activations as if it had none.
FLOAT = '-float'
DEFAULT = 'onnxruntime'


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


def _openvino(model: Model, threads: int) -> Engine:
    """Load OpenVINO, if it is installed."""
    from vpr_compressed.runtime.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(model, threads)


def _opencv(model: Model, threads: int) -> Engine:
    """Load what every robot has."""
    from vpr_compressed.runtime.opencv_engine import OpenCvEngine

    return OpenCvEngine(model, threads)


def _torch(model: Model, threads: int) -> Engine:
    """Load the reference engine; torch alone takes about 220 MB of memory."""
    from vpr_compressed.offline.network.torch_engine import TorchEngine

    return TorchEngine(model, threads)


#: Engine name -> loader, and the packages it needs; the first is the default.
ENGINES: dict[str, Callable[[Model, int], Engine]] = {
    DEFAULT: _onnxruntime, 'openvino': _openvino, 'opencv': _opencv, 'torch': _torch}
_PACKAGES = {DEFAULT: ('onnxruntime', 'onnx'), 'openvino': ('openvino', 'onnx'),
             'opencv': ('cv2', 'onnx'), 'torch': ('torch',)}


def load_engine(model: Model, name: str = DEFAULT, threads: int = 0) -> Engine:
    """
    Prepare a network for running.

    :param name: one of :data:`ENGINES`; with ``-float`` behind it, activations are not rounded
    :param threads: CPU threads; 0 takes all cores
    :raises EngineError: unknown engine, engine not installed, or it refuses the network
    """
    check_engine(name)
    if name == AUTO:
        raise EngineError(f'{AUTO!r} names no engine; choose_engine finds the one to load')
    if threads < 0:
        raise EngineError(f'threads must be 0 (all cores) or more, got {threads}')
    plain = name.removesuffix(FLOAT)
    try:
        return ENGINES[plain](as_run_by(name, model), threads)
    except ImportError as error:
        raise EngineError(
            f'engine {plain!r} is not installed ({error}); install it with pip, or choose one '
            f'of {", ".join(installed_engines()) or "no other"}') from error


def as_run_by(engine: str, model: Model) -> Model:
    """Return the model an engine computes: without rounded activations where it has none."""
    plain = engine.endswith(FLOAT) or engine == 'opencv'
    return dataclasses.replace(model, activations={}) if plain else model


def check_engine(name: str) -> None:
    """
    Refuse a name that is neither an engine nor ``auto``.

    :raises EngineError: with a suggestion
    """
    if name != AUTO and name.removesuffix(FLOAT) not in ENGINES:
        raise EngineError(f'unknown engine {name!r}{suggest(name, [AUTO, *ENGINES])}')


def installed_engines() -> list[str]:
    """Return the engines whose packages are installed, in order; none is imported."""
    return [name for name in ENGINES
            if all(find_spec(package) is not None for package in _PACKAGES[name])]
