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
The NetVLAD module of hloc (cvg/Hierarchical-Localization) and VPR-methods-evaluation, saved.

Both build it from the official ``.mat``; who saves its state dict has ``backbone.N``,
``netvlad.score_proj.weight`` ``(K, D, 1)``, ``netvlad.centers`` ``(D, K)`` with the sign already
turned, and ``whiten`` on vectors flattened ``d * K + k``. The mean colour is no parameter of the
module, so that of the official networks is taken: RGB of 0 to 255 minus the Caffe means.
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

_NAME = 'hloc'
_SCORE = 'netvlad.score_proj'


def _build(weights: StateDict, _: Path) -> ForeignNetwork:
    """Translate a state dict."""
    name, trunk = sequential_trunk(weights, 'backbone.', _NAME)
    assignment = weights.take(f'{_SCORE}.weight', _NAME)
    bias = np.zeros(len(assignment), np.float32)
    if f'{_SCORE}.bias' in weights:
        bias = weights.take(f'{_SCORE}.bias', _NAME)
    projection = None
    if 'whiten.weight' in weights:
        projection = Projection(
            weight=weights.take('whiten.weight', _NAME), bias=weights.take('whiten.bias', _NAME),
            ordered=True, origin='whiten of the checkpoint')
    centers = weights.take('netvlad.centers', _NAME).T
    weights.refuse_rest(_NAME)
    return ForeignNetwork(
        trunk_name=name, trunk=trunk, assignment=assignment.reshape(len(assignment), -1),
        assignment_bias=bias, centers=centers, order=FlattenOrder.FEATURE_MAJOR,
        projection=projection, preprocessing=mean_preprocessing(CAFFE_MEANS))


FAMILY = Family(
    name=_NAME, title='hloc (cvg/Hierarchical-Localization), gmberton/VPR-methods-evaluation',
    kind='torch',
    needs='backbone.N.weight, netvlad.score_proj.weight, netvlad.centers, whiten.weight',
    recognise=lambda weights: f'{_SCORE}.weight' in weights, build=_build)
