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
QVPR/Patch-NetVLAD: the global descriptor it re-ranks.

The layout of Nanne/pytorch-NetVlad and a whitening ``WPCA.0``, a 1x1 convolution
``(P, K * C, 1, 1)`` on vectors flattened ``k * C + c`` (add_pca.py). K is 16 in some of its
checkpoints, 64 in others.
"""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.offline.importers.nanne import build_nanne
from vpr_compressed.offline.importers.nanne import WHITENING
from vpr_compressed.offline.importers.parts import Family
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.state_dict import StateDict


def _recognise(weights: StateDict) -> bool:
    """Tell by the names of NetVLAD layer and whitening."""
    return 'pool.centroids' in weights and WHITENING in weights


def _build(weights: StateDict, _: Path) -> ForeignNetwork:
    """Translate a checkpoint."""
    return build_nanne(weights, 'patch-netvlad')


FAMILY = Family(
    name='patch-netvlad', title='QVPR/Patch-NetVLAD', kind='torch',
    needs='encoder.N.weight, pool.conv.weight, pool.centroids, WPCA.0.weight, WPCA.0.bias',
    recognise=_recognise, build=_build)
