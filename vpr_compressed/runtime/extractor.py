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

"""From an image to its global descriptor: model file, pre-processing and engine together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpr_compressed.images.pixels import preprocess
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.runtime import graph_cache
from vpr_compressed.runtime.engines import AUTO
from vpr_compressed.runtime.engines import Engine
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.engines import Engines
from vpr_compressed.runtime.selection import choose_engine
from vpr_compressed.runtime.selection import EngineChoice
from vpr_compressed.system import memory


class Extractor:
    """
    Describe images with one model on one engine.

    Holds no second copy of the weights: the engine keeps what it needs, the model is dropped.

    :param model: what to run
    :param path: the file it came from
    :param engine: has it loaded
    :param choice: which engine that is, and why it was chosen
    """

    def __init__(
        self, model: Model, path: Path, *, engine: Engine, choice: EngineChoice
    ) -> None:
        self._input = model.preprocessing
        self._engine = engine
        self.choice = choice
        #: The engine in use, as a parameter takes it, and in words with what it was compared with.
        self.engine_name, self.engine_choice = choice.engine, choice.describe()
        #: Width and height of the network input in pixels.
        self.input_size = model.preprocessing.width, model.preprocessing.height
        self.model_path = path
        self.model_bytes = path.stat().st_size
        self.model_name = path.stem
        self.dimension = model.spec.dimension
        self.descriptor_id = model.descriptor_id
        self.calibration: DecisionCalibration = model.calibration
        self.precision = model.precision
        self.provenance: Mapping[str, Any] = model.provenance

    def describe(self, image: ImageArray) -> DescriptorArray:
        """
        Describe one image.

        :param image: uint8 RGB, ``(H, W, 3)``, any size
        :returns: float32 ``(D,)``, unit norm
        :raises ImageFormatError: if it is no such image
        """
        return self._engine.describe(preprocess(image, self._input))


def load_extractor(
    model: Path | None = None, *, engine: str = AUTO, threads: int = 0, stays: bool = False,
    engines: Engines = ENGINES
) -> Extractor:
    """
    Load a model file and get it ready to run.

    :param model: ``.vpr`` file, or name of a packaged one; None takes the default
    :param engine: name of an engine, or ``auto``
    :param threads: CPU threads, 0 for all cores
    :param stays: the process runs for long, so another one builds the graph: 28 MB less
    :param engines: those there are
    :raises ModelFileError: missing, damaged or newer file
    :raises EngineError: unknown or missing engine, or none that can run the model
    """
    path = find_model(model)
    found = read_model(path)
    choice = resolve_engine(path, found, engine, threads, engines=engines)
    kind = engines.kind(choice.engine)
    if stays and kind.graph != 'none':
        graph_cache.prepare(path, kind.model_run(found), trunk_only=kind.trunk_only)
    extractor = Extractor(
        found, path, engine=engines.load(found, choice.engine, threads), choice=choice)
    del found
    memory.give_back()
    return extractor


def resolve_engine(
    path: Path, model: Model, engine: str, threads: int, *, engines: Engines = ENGINES
) -> EngineChoice:
    """
    Return the engine a name stands for; ``auto`` may take seconds the first time.

    :param path: the file the model came from
    :param engines: those there are
    :raises EngineError: unknown engine, or none that can run the model
    """
    engines.check(engine)
    if engine == AUTO:
        return choose_engine(path, model, threads=threads)
    return EngineChoice(engine=engine)
