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

"""OpenVINO on the CPU: an engine of its own for Intel processors, taken where it is faster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import openvino

from vpr_compressed.errors import EngineError
from vpr_compressed.model_file.model import Model
from vpr_compressed.runtime.graph_cache import graph_bytes


class OpenVinoEngine:
    """
    Run a model with OpenVINO, from the same graph as ONNX Runtime.

    :param model: what to run
    :param threads: CPU threads, 0 for all cores
    :raises EngineError: if OpenVINO refuses the network
    """

    name = 'openvino'

    def __init__(self, model: Model, threads: int = 0) -> None:
        # Left to itself it computes in bfloat16 where the CPU has it, which fails parity.
        settings = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32',
                    'NUM_STREAMS': '1'}
        if threads:
            settings['INFERENCE_NUM_THREADS'] = str(threads)
        try:
            core = openvino.Core()
            network = core.read_model(graph_bytes(model))
            self._request = core.compile_model(network, 'CPU', settings).create_infer_request()
        except Exception as error:  # plain RuntimeErrors, and others by version
            raise EngineError(f'OpenVINO refuses this network: {error}') from error

    def describe(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe one pre-processed image, see :class:`.engines.Engine`."""
        self._request.infer({0: images})
        # The memory behind it is written again by the next call.
        return np.array(self._request.get_output_tensor(0).data[0], np.float32)
