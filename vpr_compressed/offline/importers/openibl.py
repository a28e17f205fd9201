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
yxgeee/OpenIBL (SFRS): VGG16-NetVLAD with its PCA layer.

``base_model.base.N`` is the trunk, ``net_vlad.conv`` and ``net_vlad.centroids`` NetVLAD,
``pca_layer`` a whitening ``(P, K * C, 1, 1)`` on vectors flattened ``k * C + c``. Images are RGB
of 0 to 255 minus the Caffe means: the trunk started from MatConvNet's weights. Checkpoints of a
training have no PCA layer; theirs is in an HDF5 file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_compressed.offline.importers.parts import CAFFE_MEANS
from vpr_compressed.offline.importers.parts import Family
from vpr_compressed.offline.importers.parts import FlattenOrder
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.parts import mean_preprocessing
from vpr_compressed.offline.importers.parts import Projection
from vpr_compressed.offline.importers.state_dict import StateDict
from vpr_compressed.offline.importers.trunks import sequential_trunk

_NAME = 'openibl'


def _build(weights: StateDict, _: Path) -> ForeignNetwork:
    """Translate a checkpoint."""
    name, trunk = sequential_trunk(weights, 'base_model.base.', _NAME)
    assignment = weights.take('net_vlad.conv.weight', _NAME)
    projection = None
    if 'pca_layer.weight' in weights:
        weight = weights.take('pca_layer.weight', _NAME)
        projection = Projection(
            weight=weight.reshape(len(weight), -1), bias=weights.take('pca_layer.bias', _NAME),
            ordered=True, origin='pca_layer of the checkpoint')
    centers = weights.take('net_vlad.centroids', _NAME)
    weights.refuse_rest(_NAME)
    return ForeignNetwork(
        trunk_name=name, trunk=trunk, assignment=assignment.reshape(len(assignment), -1),
        assignment_bias=np.zeros(len(assignment), np.float32), centers=centers,
        order=FlattenOrder.CLUSTER_MAJOR, projection=projection,
        preprocessing=mean_preprocessing(CAFFE_MEANS))


FAMILY = Family(
    name=_NAME, title='yxgeee/OpenIBL (SFRS)', kind='torch',
    needs='base_model.base.N.weight, net_vlad.conv.weight, net_vlad.centroids, pca_layer.weight',
    recognise=lambda weights: 'net_vlad.centroids' in weights, build=_build)
