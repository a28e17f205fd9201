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

"""The default engine: ONNX Runtime on the CPU."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
import platform

import numpy as np
from numpy.typing import NDArray
import onnxruntime

from vpr_compressed.errors import EngineError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.runtime.graph_cache import graph_bytes
from vpr_compressed.system.machine import cpu_facts

#: Would put float weights between rounded activations on a grid of its own, one scale for all.
DISABLED = ['WeightBiasQuantization']


class OnnxRuntimeEngine:
    """
    Run a model with ONNX Runtime.

    :param model: what to run, or an exported file
    :param threads: CPU threads, 0 for all cores
    :raises EngineError: if ONNX Runtime refuses the network
    """

    name = 'onnxruntime'

    def __init__(self, model: Model | Path, threads: int = 0) -> None:
        self._session = open_session(
            model if isinstance(model, Path) else graph_bytes(model), threads)

    def describe(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe one pre-processed image, see :class:`.engines.Engine`."""
        result: NDArray[np.float32] = self._session.run(None, {INPUT: images})[0][0]
        return result


def open_session(graph: bytes | Path, threads: int) -> onnxruntime.InferenceSession:
    """
    Get a graph ready to run as the engine runs it.

    :param graph: serialised, or the file it is in
    :param threads: CPU threads, 0 for all cores
    :raises EngineError: if ONNX Runtime refuses it
    """
    try:
        return onnxruntime.InferenceSession(
            str(graph) if isinstance(graph, Path) else graph, _options(threads),
            providers=['CPUExecutionProvider'], disabled_optimizers=DISABLED)
    except Exception as error:  # its exception types are private and differ by version
        named = graph if isinstance(graph, Path) else 'this network'
        raise EngineError(f'ONNX Runtime refuses {named}: {error}') from error


def _options(threads: int) -> onnxruntime.SessionOptions:
    """Return how a network is run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would burn a core between two images of a slow camera.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    # Measured after 30 images of the packaged model: 48 MB added. With memory patterns, one
    # block planned for a whole image, 59 MB; without the arena 66 to 121 MB, and slower.
    options.enable_mem_pattern = False
    if _frugal_arena():
        options.add_session_config_entry('session.use_env_allocators', '1')
    if not _adds_up_exactly():
        options.add_session_config_entry('session.x64quantprecision', '1')
    return options


@lru_cache(maxsize=1)
def _frugal_arena() -> bool:
    """
    Have this process's sessions share an arena that grows by what is asked for; say if they do.

    A session's own arena grows to the next power of two: a VGG16 of half the channels at 640x480
    then adds 131 MB instead of 90, in the same time. Made once, and kept until the process ends.
    """
    same_as_requested = 1
    try:
        onnxruntime.create_and_register_allocator(
            onnxruntime.OrtMemoryInfo(
                'Cpu', onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0,
                onnxruntime.OrtMemType.DEFAULT),
            onnxruntime.OrtArenaCfg({'arena_extend_strategy': same_as_requested}))
    except Exception:  # noqa: BLE001
        # Its types are private. Another version, or somebody in this process has made one.
        return False
    return True


def _adds_up_exactly() -> bool:
    """
    Tell whether this CPU sums uint8 x int8 products without cutting them off at 16 bits.

    An x86 without VNNI does not; ONNX Runtime has a slower way for it, which on a CPU with VNNI
    would make int8 4.5 times slower for the same numbers.
    """
    if platform.machine() not in ('x86_64', 'AMD64'):
        return True  # the option is for x86 only
    return 'avx512_vnni' in cpu_facts() or 'avx_vnni' in cpu_facts()
