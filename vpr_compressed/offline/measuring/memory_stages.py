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

Run as a program in a process of its own, with a model file, an engine and a number of places; it
prints one line of JSON per stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
import json
from pathlib import Path
import sys
from typing import Any

from vpr_compressed.errors import VprError
from vpr_compressed.system import memory

#: Stage -> module that brings it, in the order the node loads them.
LIBRARIES = {
    'rclpy': 'rclpy.lifecycle', 'messages': 'sensor_msgs.msg', 'NumPy': 'numpy', 'OpenCV': 'cv2',
    'recogniser': 'vpr_compressed.recognizer',
    'model reader': 'vpr_compressed.runtime.extractor'}


class _Stages:
    """Prints what each stage has added."""

    def __init__(self) -> None:
        self._before = 0
        self.done('Python')

    def done(self, name: str) -> None:
        """Print the stage that ends now."""
        found = memory.resident_bytes()
        self._say({'stage': name, 'added_bytes': found - self._before, 'total_bytes': found,
                   'peak_bytes': memory.peak_bytes()})
        self._before = found
        memory.forget_peak()

    @staticmethod
    def _say(values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + '\n')
        sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """
    Go through all stages.

    :param arguments: model file, engine, number of places
    :returns: 0, or 1 with the reason on stderr
    """
    model, engine, places = Path(arguments[0]), arguments[1], int(arguments[2])
    stages = _Stages()
    for name, module in LIBRARIES.items():
        if find_spec(module.partition('.')[0]) is not None:
            import_module(module)
            stages.done(name)
    try:
        extractor = _loaded(model, engine, stages)
    except VprError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    _fill(extractor.dimension, places)
    stages.done(f'{places:,} places'.replace(',', ' '))
    return 0


def _loaded(model: Path, engine: str, stages: _Stages) -> Any:
    """Load the model and describe images."""
    import numpy as np

    from vpr_compressed.offline.network.engines import load_extractor

    extractor = load_extractor(model, engine=engine)
    stages.done(f'model on {extractor.engine_name}')
    image = np.zeros((480, 640, 3), np.uint8)
    extractor.describe(image)
    stages.done('first image')
    for _ in range(20):
        extractor.describe(image)
    stages.done('20 more images')
    return extractor


#: Holds the index until the process ends.
_KEPT: list[Any] = []


def _fill(dimension: int, places: int) -> None:
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
    _KEPT.append(index)
    memory.give_back()  # as the node does when it is configured


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
