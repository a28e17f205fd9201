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
What a robot's process holds, stage by stage: libraries, model, engine, first image, places.

Run as a program in a process of its own, which loads everything late: what the module itself
needed would be no stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
import sys
from typing import Any

from vpr_compressed.system import memory
from vpr_compressed.system.processes import run_worker
from vpr_compressed.system.processes import serve

MODULE = 'vpr_compressed.offline.measuring.memory_stages'
#: Stage -> module that brings it, in the order the node loads them.
LIBRARIES = {
    'rclpy': 'rclpy.lifecycle', 'messages': 'sensor_msgs.msg', 'NumPy': 'numpy', 'OpenCV': 'cv2',
    'recogniser': 'vpr_compressed.recognizer',
    'model reader': 'vpr_compressed.runtime.extractor'}


def measure_memory(model: Path, engine: str, places: int) -> list[dict[str, Any]]:
    """
    Return what a process holds after each stage of what a node does.

    :param places: in the map
    :returns: name of the stage, bytes it has added, bytes in all, and the peak on the way
    :raises VprError: if the model cannot be run
    """
    found: list[dict[str, Any]] = run_worker(
        MODULE, {'model': model, 'engine': engine, 'places': places},
        name=f'the process that measured the memory of {model}')
    return found


def work(arguments: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """
    Go through all stages and yield them at once.

    :param arguments: those of :func:`measure_memory`
    """
    stages, before = [], 0
    for name in _stages(**arguments):
        total = memory.resident_bytes()
        stages.append({'stage': name, 'added_bytes': total - before, 'total_bytes': total,
                       'peak_bytes': memory.peak_bytes()})
        before = total
        memory.forget_peak()
    yield stages


def _stages(*, model: str, engine: str, places: int) -> Iterator[str]:
    """Do what a node does; yield the name of each stage when it ends."""
    yield 'Python'
    for name, module in LIBRARIES.items():
        if find_spec(module.partition('.')[0]) is not None:
            import_module(module)
            yield name
    import numpy as np

    from vpr_compressed.offline.network.engines import load_extractor

    extractor = load_extractor(Path(model), engine=engine)
    yield f'model on {extractor.engine_name}'
    image = np.zeros((480, 640, 3), np.uint8)
    extractor.describe(image)
    yield 'first image'
    for _ in range(20):
        extractor.describe(image)
    yield '20 more images'
    index = _filled(extractor.dimension, places)
    yield f'{places:,} places'.replace(',', ' ')
    del index


def _filled(dimension: int, places: int) -> Any:
    """Index made-up places as a map file does; FAISS is loaded only if they need it."""
    import numpy as np

    from vpr_compressed.place_map.index import PlaceIndex

    index = PlaceIndex(
        dimension, fetch=lambda ids: np.zeros((len(ids), dimension), np.float32), expected=places)
    for start in range(0, places, 1000):
        count = min(1000, places - start)
        numbers = np.arange(start * dimension, (start + count) * dimension, dtype=np.float32)
        rows = np.sin(numbers * numbers).reshape(count, dimension)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        index.add(np.arange(start, start + count), rows)
    memory.give_back()  # as the node does when it is configured
    return index


if __name__ == '__main__':
    sys.exit(serve(work))
