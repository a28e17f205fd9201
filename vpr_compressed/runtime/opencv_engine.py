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
OpenCV's own network module: slower, but on every robot that can decode an image.

It runs the trunk in float32. NetVLAD and projection are NumPy, because OpenCV 4 lacks some of
their operations.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import EngineError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.runtime.graph_cache import graph_bytes
from vpr_compressed.runtime.numpy_head import NumpyHead


class OpenCvEngine:
    """
    Run a model with OpenCV and NumPy, in float32 whatever the model's precision.

    :param model: what to run; without activation ranges
    :param threads: CPU threads, 0 for OpenCV's default; OpenCV has one setting per process
    :raises EngineError: if OpenCV refuses the network
    """

    name = 'opencv'

    def __init__(self, model: Model, threads: int = 0) -> None:
        if threads:
            cv2.setNumThreads(threads)
        try:
            self._net = cv2.dnn.readNetFromONNX(
                np.frombuffer(graph_bytes(model, trunk_only=True), np.uint8))
        except (cv2.error, AttributeError) as error:  # some builds have no dnn module
            raise EngineError(f'OpenCV {cv2.__version__} refuses this network: {error}') from error
        self._head = NumpyHead(model)

    def describe(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Describe one pre-processed image.

        :param images: float32 ``(1, 3, h, w)``
        :returns: descriptor, float32 ``(D,)``, unit norm
        """
        self._net.setInput(images, INPUT)
        return self._head(np.asarray(self._net.forward(), np.float32)[0])
