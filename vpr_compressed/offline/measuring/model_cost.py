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

"""What a model costs before it answers: seconds to load, and memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import time

import numpy as np
import psutil

from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.offline.network.engines import load_extractor
from vpr_compressed.offline.network.engines import resolve_engine
from vpr_compressed.runtime.extractor import Extractor


@dataclass(frozen=True, kw_only=True)
class LoadedExtractor:
    """
    A model ready to run, and what it cost.

    :param resident_bytes: memory the process gained by loading the model and by running it
        once, the inference engine included if nothing had loaded it before
    :param load_s: seconds from the file to the first descriptor
    """

    extractor: Extractor
    resident_bytes: int
    load_s: float


def load_measured(model: Path | None, *, engine: str, threads: int) -> LoadedExtractor:
    """
    Load a model, run it once and measure what that costs.

    :param model: model file, None for the packaged one
    :raises ModelFileError: no or damaged model
    :raises EngineError: engine not installed or unknown
    """
    path = find_model(model)
    # Racing the engines, the first time on a machine, is no part of loading one.
    engine = resolve_engine(path, read_model(path), engine, threads).engine
    process = psutil.Process()
    before, start = process.memory_info().rss, time.perf_counter()
    extractor = load_extractor(model, engine=engine, threads=threads)
    extractor.describe(np.full((240, 320, 3), 127, np.uint8))
    load_s = time.perf_counter() - start
    return LoadedExtractor(
        extractor=extractor, load_s=load_s,
        resident_bytes=max(0, process.memory_info().rss - before))
