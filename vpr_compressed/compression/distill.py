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
Learning from the parent network, without labels: its descriptors and its neighbour ranking.

What a map needs is that the same neighbours come first. So the student is drawn to the
parent's descriptor of the same picture, and to the parent's distribution over the nearest of
all training images (relational distillation, as in Park et al., CVPR 2019).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional

from vpr_compressed.errors import TrainingError
from vpr_compressed.records import DescriptorArray

#: Softmax temperature over cosines, as of the training loss.
TEMPERATURE = 0.05


def distill(student: Tensor, parent: Tensor, bank: Tensor) -> Tensor:
    """
    Return one minus cosine, plus how far the neighbour ranking differs.

    :param student: descriptors of a batch, ``(B, D)``, unit norm
    :param parent: the parent's descriptors of the same pictures, ``(B, D)``, unit norm
    :param bank: the parent's descriptors of all training images, ``(N, D)``, unit norm
    :returns: scalar; the second term is in nats, Kullback-Leibler divergence of the rankings
    """
    apart = 1.0 - (student * parent).sum(dim=1).mean()
    wanted = functional.log_softmax(parent @ bank.T / TEMPERATURE, dim=1)
    found = functional.log_softmax(student @ bank.T / TEMPERATURE, dim=1)
    ranking = functional.kl_div(found, wanted, log_target=True, reduction='batchmean')
    return apart + ranking


def targets(parent: DescriptorArray, dimension: int) -> DescriptorArray:
    """
    Return the parent's descriptors in the dimension of a student.

    The first dimensions, normalised again: exact for whitened descriptors.

    :param parent: float32 ``(N, D)``, unit norm
    :returns: float32 ``(N, dimension)``, unit norm
    :raises TrainingError: if the student is larger than its parent
    """
    if parent.shape[1] < dimension:
        raise TrainingError(
            f'the parent gives {parent.shape[1]}-D descriptors, the student {dimension}-D; '
            'a student cannot be larger than what it learns from')
    kept = np.asarray(parent[:, :dimension], np.float32)
    return np.asarray(kept / np.linalg.norm(kept, axis=1, keepdims=True), np.float32)
