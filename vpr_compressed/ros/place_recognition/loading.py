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

"""What is loaded at configure: the model, warm and weighed, and the map that the mode needs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import numpy as np

from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.system import memory

#: Fact on ``/diagnostics`` -> attribute of the extractor.
_FACTS = {
    'engine': 'engine_name', 'model': 'model_name', 'precision': 'precision',
    'model_bytes': 'model_bytes', 'descriptor_id': 'descriptor_id', 'dimension': 'dimension',
    'engine_choice': 'engine_choice'}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run, what diagnostics say about it, and its first run in milliseconds."""

    extractor: ImageDescriber
    facts: Mapping[str, Any]
    first_ms: float

    def describe(self) -> str:
        """Return model and engine in words."""
        facts = self.facts
        return (f'model {facts["model"]} ({facts["precision"]}, {facts["dimension"]}-D, id '
                f'{facts["descriptor_id"]}) on {facts["engine_choice"] or facts["engine"]}')


def load_model(
    loader: Callable[..., ImageDescriber], config: PlaceRecognitionConfig
) -> LoadedModel:
    """
    Load the model and describe one grey image, so that the first real one is not the slow one.

    :param loader: called with model path, ``engine``, ``threads`` and ``stays``
    :raises VprError: why it cannot be loaded or run
    """
    path = Path(config.model_path).expanduser() if config.model_path else None
    before = memory.resident_bytes()
    extractor = loader(path, engine=config.engine, threads=config.threads, stays=True)
    start_s = time.perf_counter()
    extractor.describe(np.full((48, 64, 3), 128, np.uint8))
    first_ms = (time.perf_counter() - start_s) * 1e3
    facts = {name: getattr(extractor, attribute, '') for name, attribute in _FACTS.items()}
    facts['model_resident_bytes'] = max(0, memory.resident_bytes() - before)
    return LoadedModel(extractor, facts, first_ms)


def open_map(config: PlaceRecognitionConfig, model: LoadedModel) -> PlaceMap:
    """
    Open or create the map the mode needs.

    :param config: mode and path; a relative path starts where the node was started
    :param model: model the map has to fit
    :raises MapFileError: the map is missing, damaged, not writable or of another model
    """
    path = Path(config.map_path).expanduser() if config.map_path else None
    identity = model.extractor.descriptor_id
    if path is not None and (config.mode == 'localization' or path.exists()):
        return PlaceMap.open(
            path, descriptor_id=identity, read_only=config.mode == 'localization')
    return PlaceMap.create(
        path, descriptor_id=identity, dimension=model.extractor.dimension,
        model_name=str(model.facts['model']))
