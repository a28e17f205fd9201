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
One lane of a race: a process with one model on one engine, which describes images when told to.

Started by :mod:`.race`. Prints a line of JSON when it is ready, then, for every number read from
standard input, one with the times of so many images; ends with its input.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import json
from pathlib import Path
import sys
import time
from typing import Any

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.network.engines import load_extractor
from vpr_compressed.runtime.parity import reference_images
from vpr_compressed.system import memory

#: Size of the camera image that is described, as most robots have it.
CAMERA = PreprocessingSpec(width=640, height=480)


def prepare(model: Path, engine: str, threads: int) -> tuple[Any, dict[str, Any]]:
    """
    Load a model and return its extractor and what that cost.

    Memory is what the process gained, the library of the engine included; descriptors are those
    of made-up images, to compare engines and models by.

    :raises VprError: if the model cannot be loaded or run
    """
    images = reference_images(CAMERA)
    before = memory.resident_bytes()
    memory.forget_peak()
    started = time.perf_counter()
    extractor = load_extractor(model, engine=engine, threads=threads)
    first = extractor.describe(images[0])
    load_s = time.perf_counter() - started
    descriptors = [first, *(extractor.describe(image) for image in images[1:])]
    resident, peak = memory.resident_bytes(), memory.peak_bytes()
    return extractor, {
        'engine': extractor.engine_name, 'precision': extractor.precision,
        'activations': len(read_model(model).activations), 'load_s': load_s,
        'resident_bytes': max(0, resident - before),
        'peak_bytes': max(0, max(peak, resident) - before),
        'descriptors': [[float(value) for value in row] for row in descriptors]}


def times_of(extractor: Any, count: int) -> dict[str, list[float]]:
    """Describe the same image a number of times; return milliseconds, and those of the CPU."""
    image = reference_images(CAMERA, 1)[0]
    wall, cpu = [], []
    for _ in range(count):
        started = time.perf_counter(), time.process_time()
        extractor.describe(image)
        wall.append(1e3 * (time.perf_counter() - started[0]))
        cpu.append(1e3 * (time.process_time() - started[1]))
    return {'wall_ms': wall, 'cpu_ms': cpu}


def main(arguments: Sequence[str]) -> int:
    """
    Run one lane.

    :param arguments: model file, engine, threads
    """
    model, engine, threads = arguments
    try:
        extractor, facts = prepare(Path(model), engine, int(threads))
    except VprError as error:
        _say({'error': str(error)})
        return 0
    _say(facts)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        for line in sys.stdin:
            _say(times_of(extractor, int(line)))
    return 0


def _say(values: dict[str, Any]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(values) + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
