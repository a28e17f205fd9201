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

#: Least norm a vector is divided by, as in the ONNX graph.
_LEAST = np.float32(1e-12)


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
        # An int8 projection is expanded to four times its bytes.
        self._assignment = model.float_tensor('netvlad.assignment.weight')      # (K, C)
        self._bias = model.float_tensor('netvlad.assignment.bias')[:, np.newaxis]
        self._centers = model.float_tensor('netvlad.centers')                   # (K, C)
        self._projection = model.float_tensor('projection.weight')              # (D, K * C)
        self._offset = model.float_tensor('projection.bias')

    def describe(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe one pre-processed image, see :class:`.engines.Engine`."""
        self._net.setInput(images, INPUT)
        return self._head(np.asarray(self._net.forward(), np.float32)[0])

    def _head(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Turn local features into the descriptor: Arandjelovic et al., CVPR 2016, section 3.1.

        :param features: float32 ``(C, H, W)``
        :returns: float32 ``(D,)``, unit norm
        """
        x = _normalised(features.reshape(len(features), -1), axis=0)            # (C, N)
        scores = self._assignment @ x + self._bias                              # (K, N)
        weights = np.exp(scores - scores.max(axis=0))
        weights /= weights.sum(axis=0)
        residuals = weights @ x.T - weights.sum(axis=1)[:, np.newaxis] * self._centers
        vector = _normalised(_normalised(residuals, axis=1).reshape(1, -1), axis=1)[0]
        found = self._projection @ vector + self._offset
        descriptor: NDArray[np.float32] = _normalised(found[np.newaxis], axis=1)[0]
        return descriptor


def _normalised(vectors: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """Return vectors of unit norm; a vector of zeros stays one."""
    norms = np.sqrt(np.square(vectors).sum(axis=axis, keepdims=True))
    return np.asarray(vectors / np.maximum(norms, _LEAST), np.float32)
