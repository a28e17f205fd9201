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
Nanne/pytorch-NetVlad, and whoever trained with it, such as MISTLab's Swarm-SLAM.

``encoder.N`` is VGG16 without its last ReLU and pool, ``pool.conv`` the soft assignment (its bias
is there with ``--vladv2`` only), ``pool.centroids`` ``(K, C)`` the centres. No whitening; vectors
are flattened ``k * C + c``. Images as torchvision's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_compressed.offline.importers.parts import Family
from vpr_compressed.offline.importers.parts import FlattenOrder
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.parts import imagenet_preprocessing
from vpr_compressed.offline.importers.parts import Projection
from vpr_compressed.offline.importers.state_dict import StateDict
from vpr_compressed.offline.importers.trunks import sequential_trunk

WHITENING = 'WPCA.0.weight'


def build_nanne(weights: StateDict, family: str) -> ForeignNetwork:
    """
    Translate a network whose parts are called encoder, pool and perhaps WPCA.

    :param family: for errors
    """
    name, trunk = sequential_trunk(weights, 'encoder.', family)
    assignment = weights.take('pool.conv.weight', family)
    bias = np.zeros(len(assignment), np.float32)
    if 'pool.conv.bias' in weights:
        bias = weights.take('pool.conv.bias', family)
    projection = None
    if WHITENING in weights:
        weight = weights.take(WHITENING, family)
        projection = Projection(
            weight=weight.reshape(len(weight), -1), bias=weights.take('WPCA.0.bias', family),
            ordered=True, origin='WPCA of the checkpoint')
    centers = weights.take('pool.centroids', family)
    weights.refuse_rest(family)
    return ForeignNetwork(
        trunk_name=name, trunk=trunk, assignment=assignment.reshape(len(assignment), -1),
        assignment_bias=bias, centers=centers, order=FlattenOrder.CLUSTER_MAJOR,
        projection=projection, preprocessing=imagenet_preprocessing())


def _recognise(weights: StateDict) -> bool:
    """Tell by the names of the NetVLAD layer."""
    return 'pool.centroids' in weights and WHITENING not in weights


def _build(weights: StateDict, _: Path) -> ForeignNetwork:
    """Translate a checkpoint."""
    return build_nanne(weights, 'nanne')


FAMILY = Family(
    name='nanne', title='Nanne/pytorch-NetVlad, also Swarm-SLAM (MISTLab)', kind='torch',
    needs='encoder.N.weight, pool.conv.weight, pool.centroids; no whitening',
    recognise=_recognise, build=_build)
