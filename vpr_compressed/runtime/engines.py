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
The engines of a robot: what is known of each before it is loaded, and how to load one.

An engine is a class with the two members of :class:`Engine` in a module of its own, and one
entry in :data:`ENGINES`; nothing else in the package knows it by its name.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import suggest
from vpr_compressed.errors import EngineError
from vpr_compressed.model_file.model import Model
from vpr_compressed.runtime.opencv_engine import OpenCvEngine

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


@dataclass(frozen=True, kw_only=True)
class EngineKind:
    """
    What is known of an engine before its packages are loaded.

    :param name: as options and parameters take it
    :param load: prepares a model to run on so many CPU threads, 0 for all cores
    :param packages: what must be installed, by the names it is imported by
    :param integers: runs rounded activations; one that does not runs such a model in float
    :param graph: which part of a network it takes as an ONNX graph
    """

    name: str
    load: Callable[[Model, int], Engine]
    packages: tuple[str, ...]
    integers: bool = True
    graph: Literal['whole', 'trunk', 'none'] = 'whole'

    @property
    def trunk_only(self) -> bool:
        """Whether its graph ends at the local features."""
        return self.graph == 'trunk'

    def model_run(self, model: Model) -> Model:
        """Return the model it computes: without rounded activations where it runs none."""
        return model if self.integers else dataclasses.replace(model, activations={})


class Engines:
    """
    Engines by their names.

    :param kinds: in the order in which they are listed
    """

    def __init__(self, *kinds: EngineKind) -> None:
        self._kinds = {kind.name: kind for kind in kinds}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all, installed or not."""
        return tuple(self._kinds)

    def joined_by(self, *kinds: EngineKind) -> Engines:
        """Return these engines and others behind them."""
        return Engines(*self._kinds.values(), *kinds)

    def installed(self) -> list[str]:
        """Return the engines whose packages are installed, in order; none is imported."""
        return [kind.name for kind in self._kinds.values()
                if all(find_spec(package) is not None for package in kind.packages)]

    def check(self, name: str) -> None:
        """
        Refuse a name that is neither an engine nor ``auto``.

        :raises EngineError: with a suggestion
        """
        if name != AUTO:
            self.kind(name)

    def kind(self, name: str) -> EngineKind:
        """
        Return what is known of an engine.

        :param name: with ``-float`` behind it, the engine as one without integers
        :raises EngineError: for an unknown name, with a suggestion
        """
        plain = name.removesuffix(FLOAT)
        if plain not in self._kinds:
            raise EngineError(f'unknown engine {name!r}{suggest(name, [AUTO, *self._kinds])}')
        kind = self._kinds[plain]
        return kind if plain == name else dataclasses.replace(kind, integers=False)

    def load(self, model: Model, name: str = DEFAULT, threads: int = 0) -> Engine:
        """
        Prepare a network for running.

        :param name: of an engine; with ``-float`` behind it, activations are not rounded
        :param threads: CPU threads; 0 takes all cores
        :raises EngineError: unknown engine, engine not installed, or it refuses the network
        """
        if name == AUTO:
            raise EngineError(f'{AUTO!r} names no engine; choose_engine finds the one to load')
        kind = self.kind(name)
        if threads < 0:
            raise EngineError(f'threads must be 0 (all cores) or more, got {threads}')
        try:
            return kind.load(kind.model_run(model), threads)
        except ImportError as error:
            raise EngineError(
                f'engine {kind.name!r} is not installed ({error}); install it with pip, or choose '
                f'one of {", ".join(self.installed()) or "no other"}') from error


def _onnxruntime(model: Model, threads: int) -> Engine:
    """Load the default engine."""
    from vpr_compressed.runtime.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, threads)


def _openvino(model: Model, threads: int) -> Engine:
    """Load OpenVINO, if it is installed."""
    from vpr_compressed.runtime.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(model, threads)


ENGINES = Engines(
    EngineKind(name=DEFAULT, load=_onnxruntime, packages=('onnxruntime', 'onnx')),
    EngineKind(name='openvino', load=_openvino, packages=('openvino', 'onnx')),
    EngineKind(name='opencv', load=OpenCvEngine, packages=('cv2', 'onnx'), integers=False,
               graph='trunk'))
