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

"""Try one engine on one model; run as a program, it prints one line of JSON."""

from __future__ import annotations

from dataclasses import asdict
import json
from pathlib import Path
import sys
import time

import numpy as np

from vpr_compressed import memory
from vpr_compressed.errors import VprError
from vpr_compressed.model_file import read_model
from vpr_compressed.preprocessing import normalise
from vpr_compressed.runtime import as_run_by
from vpr_compressed.runtime import load_engine
from vpr_compressed.runtime.graph_cache import graph_bytes
from vpr_compressed.runtime.graph_cache import takes_trunk_only
from vpr_compressed.runtime.parity import check_parity
from vpr_compressed.runtime.parity import reference_images
from vpr_compressed.runtime.selection import Trial

#: Images timed at most, and the time after which no further one is.
_IMAGES, _ENOUGH_S = 15, 3.0


def measure(name: str, path: Path, threads: int) -> Trial:
    """
    Load an engine, compare it with the reference descriptors and time it.

    :raises VprError: if it cannot run the model
    """
    model = read_model(path)
    # For the process that will stay: it need not build it, nor load what builds it.
    graph_bytes(as_run_by(name, model), trunk_only=takes_trunk_only(name), keep=True)
    started = time.perf_counter()
    engine = load_engine(model, name, threads)
    load_s = time.perf_counter() - started
    cosine = check_parity(model, engine)  # also warms up
    image = normalise(reference_images(model.preprocessing, 1)[0][np.newaxis],
                      model.preprocessing)
    del model
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < _IMAGES and (time.perf_counter() - begun < _ENOUGH_S or len(times) < 3):
        started = time.perf_counter()
        engine.describe(image)
        times.append(time.perf_counter() - started)
    return Trial(
        engine=name, milliseconds=1e3 * float(np.quantile(times, 0.25)), load_s=load_s,
        cosine=0.0 if cosine is None or not np.isfinite(cosine) else cosine,
        resident_bytes=memory.resident_bytes())


def main() -> int:
    """Try ``ENGINE MODEL THREADS`` and print the trial."""
    name, path, threads = sys.argv[1:]
    try:
        trial = measure(name, Path(path), int(threads))
    except VprError as error:
        trial = Trial(engine=name, error=str(error))
    sys.stdout.write(json.dumps(asdict(trial)) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
