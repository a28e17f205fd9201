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
Smaller heads without training: shorter descriptors, and fewer channels in front of NetVLAD.

Both are linear algebra on the weights. :func:`truncate_whitening` is exact; how much
:func:`reduce_channels` loses depends on the basis, which :func:`vlad_basis` fits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression.structure import Tensors

#: Name of the layer that :func:`reduce_channels` appends.
REDUCE = 'reduce'

#: Weight of the assignment's directions against those of the residuals. On the packaged model,
#: 0.3 and 1.0 do alike, and 0 more than doubles the error of the descriptors.
ASSIGNMENT_SHARE = 0.3
#: Rows that are expanded to float64 at a time.
_CHUNK = 16384

Floats = NDArray[np.floating[Any]]


def truncate_whitening(
    spec: NetworkSpec, tensors: Tensors, dimension: int
) -> tuple[NetworkSpec, dict[str, NDArray[np.float32]]]:
    """
    Keep the first dimensions of the descriptor, which hold the most variance.

    Exact: the same as cutting the descriptor and normalising it again.

    :param dimension: new size of the descriptor
    :raises ConfigError: if it is below 1 or above the present one
    """
    if not 1 <= dimension <= spec.dimension:
        raise ConfigError(
            f'a descriptor of {spec.dimension} dimensions cannot be cut to {dimension}; take 1 to '
            f'{spec.dimension}')
    return replace(spec, dimension=dimension), dict(tensors) | {
        name: tensors[name][:dimension] for name in ('projection.weight', 'projection.bias')}


def reduce_channels(
    spec: NetworkSpec, tensors: Tensors, basis: Floats, *, kept_energy: float = 1.0
) -> tuple[NetworkSpec, dict[str, NDArray[np.float32]]]:
    """
    Append a 1x1 convolution to the trunk and turn NetVLAD and projection into its basis.

    With B the basis and x a local feature of unit norm, the network now sees ``B x / |B x|``.
    Assignment, centres and each cluster's block of the projection are multiplied by ``B^T``. What
    the basis leaves out makes ``|B x|`` shorter than 1, and NetVLAD stretches it back, so centres
    are divided and assignment weights multiplied by its typical value, the square root of
    ``kept_energy``. A complete basis gives the same descriptors.

    :param basis: orthonormal rows, ``(r, C)``, r at most C
    :param kept_energy: mean of ``|B x|^2``, in (0, 1]; :func:`vlad_basis` returns it
    :returns: a network whose trunk ends in the layer ``reduce`` with r channels
    :raises ConfigError: if a layer has the name
    """
    channels = spec.feature_channels
    matrix = np.asarray(basis, np.float64)
    if any(layer.name == REDUCE for layer in spec.layers):
        raise ConfigError(
            f'{spec.trunk} has a layer {REDUCE!r} already; reduce the channels once, to the '
            'smaller number')
    length = kept_energy ** 0.5
    reduced = replace(spec, layers=(*spec.layers, Layer(
        name=REDUCE, op='conv', inputs=(spec.layers[-1].name,), channels=len(matrix))))
    # One product per cluster: the matrix of VGG16 is 512 MB, a float64 copy of it is not needed.
    small = matrix.astype(np.float32)
    blocks = tensors['projection.weight'].reshape(-1, channels)                # (D * K, C)
    return reduced, dict(tensors) | {
        f'{REDUCE}.weight': small[:, :, np.newaxis, np.newaxis],
        f'{REDUCE}.bias': np.zeros(len(matrix), np.float32),
        'netvlad.assignment.weight': np.asarray(
            length * (tensors['netvlad.assignment.weight'] @ matrix.T), np.float32),
        'netvlad.centers': np.asarray(tensors['netvlad.centers'] @ matrix.T / length, np.float32),
        'projection.weight': (blocks @ small.T).reshape(spec.dimension, -1)}


def vlad_basis(
    vectors: Floats, assignment_weight: Floats, features: Floats, rank: int
) -> tuple[NDArray[np.float32], float]:
    """
    Fit the directions in which the rows of whole VLAD vectors are longest.

    Better than those of local features or of single residuals: it counts a cluster as the
    descriptor does. Residuals that cancel within an image do not count, and rare clusters count
    as much as common ones. The moment of the assignment weights is added, as features are still
    to find their clusters.

    :param vectors: NetVLAD outputs, cluster-major, ``(N, K * C)``
    :param assignment_weight: ``(K, C)``
    :param features: local features of unit norm, ``(N', C)``
    :param rank: number r of directions
    :returns: orthonormal rows ``(r, C)`` by falling energy, and the mean of ``|B x|^2``
    :raises ConfigError: if there are fewer channels
    """
    channels = assignment_weight.shape[1]
    assignment = _moment(assignment_weight)
    moment = _moment(vectors.reshape(-1, channels))
    basis = _leading(
        moment / (np.trace(moment) or 1.0)
        + ASSIGNMENT_SHARE * assignment / (np.trace(assignment) or 1.0), rank)
    moment = _moment(features)
    kept = float(np.sum((basis @ moment) * basis))
    return basis, min(1.0, kept / (float(np.trace(moment)) or 1.0))


def _moment(rows: Floats) -> NDArray[np.float64]:
    """Return the second moment ``(C, C)`` of rows ``(N, C)``."""
    moment = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), _CHUNK):
        part = rows[start:start + _CHUNK].astype(np.float64)
        moment += part.T @ part
    return moment / len(rows)


def _leading(moment: NDArray[np.float64], rank: int) -> NDArray[np.float32]:
    """Return the eigenvectors of the largest eigenvalues as rows; the peak of each is positive."""
    if not 1 <= rank <= len(moment):
        raise ConfigError(
            f'{len(moment)} channels cannot be reduced to {rank}; take 1 to {len(moment)}')
    _, vectors = np.linalg.eigh(moment)
    rows = vectors.T[::-1][:rank]                                              # (r, C)
    peaks = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, np.newaxis], axis=1)
    return np.ascontiguousarray(rows * np.sign(peaks), np.float32)
