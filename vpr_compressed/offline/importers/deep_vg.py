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
gmberton/deep-visual-geo-localization-benchmark: VGG16 or a ResNet with NetVLAD.

``backbone.N`` is the trunk, ``aggregation.conv`` and ``aggregation.centroids`` NetVLAD. With
``--fc_output_dim`` the aggregation is a sequence: ``aggregation.0`` NetVLAD, ``aggregation.1`` a
linear layer. Vectors are flattened ``k * C + c``, images as torchvision's. A PCA is fitted
apart by eval.py (scikit-learn, not whitened); it leaves its vectors unnormalised, ours are
divided by their length.
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

_NAME = 'deep-vg'
_PLAIN = 'aggregation.centroids'
_WITH_LAYER = 'aggregation.0.centroids'


def _build(weights: StateDict, _: Path) -> ForeignNetwork:
    """Translate a checkpoint."""
    name, trunk = sequential_trunk(weights, 'backbone.', _NAME)
    pool = 'aggregation.0' if _WITH_LAYER in weights else 'aggregation'
    assignment = weights.take(f'{pool}.conv.weight', _NAME)
    projection = None
    if pool == 'aggregation.0':
        projection = Projection(
            weight=weights.take('aggregation.1.weight', _NAME),
            bias=weights.take('aggregation.1.bias', _NAME), ordered=False,
            origin='aggregation.1 of the checkpoint')
    centers = weights.take(f'{pool}.centroids', _NAME)
    weights.refuse_rest(_NAME)
    return ForeignNetwork(
        trunk_name=name, trunk=trunk, assignment=assignment.reshape(len(assignment), -1),
        assignment_bias=np.zeros(len(assignment), np.float32), centers=centers,
        order=FlattenOrder.CLUSTER_MAJOR, projection=projection,
        preprocessing=imagenet_preprocessing())


FAMILY = Family(
    name=_NAME, title='gmberton/deep-visual-geo-localization-benchmark', kind='torch',
    needs='backbone.N.weight (VGG16, ResNet18, 34, 50 or 101), aggregation.conv.weight, '
          'aggregation.centroids; with a linear layer aggregation.0... and aggregation.1.weight',
    recognise=lambda weights: _PLAIN in weights or _WITH_LAYER in weights, build=_build)
