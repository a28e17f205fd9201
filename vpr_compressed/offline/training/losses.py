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
Metric-learning losses on unit descriptors, with the hardest pairs chosen inside the batch.

Each takes the similarity matrix of a batch and two masks: which pairs show the same place and
which surely do not. Pairs in neither mask (near in space, but not near enough) do not count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional

from vpr_compressed.errors import TrainingError
from vpr_compressed.records import DescriptorArray

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Similarity of a pair that must not count, far below any cosine.
_NEVER = -1e4


def triplet(similarity: Tensor, same: Tensor, different: Tensor) -> Tensor:
    """
    Hinge on squared distances with the hardest negative of every positive pair.

    Half the margin loss of Saha et al., ACPR 2017, with margin 0.1 as in NetVLAD;
    ``|a - b|^2 = 2 - 2 cos`` for unit vectors.

    :param similarity: cosines, ``(B, B)``
    :param same: bool ``(B, B)``, False on the diagonal
    :param different: bool ``(B, B)``
    :returns: scalar
    """
    hardest = similarity.masked_fill(~different, _NEVER).max(dim=1, keepdim=True).values
    hinge = functional.relu(0.1 + 2.0 * (hardest - similarity))
    return 0.5 * hinge[same].mean()


def multi_similarity(similarity: Tensor, same: Tensor, different: Tensor) -> Tensor:
    """
    Multi-similarity loss with its pair mining (Wang et al., CVPR 2019).

    Only negatives more similar than the worst positive (less 0.1) and positives less similar
    than the best negative (plus 0.1) count.

    :param similarity: cosines, ``(B, B)``
    :param same: bool ``(B, B)``, False on the diagonal
    :param different: bool ``(B, B)``
    :returns: scalar
    """
    alpha, beta, base, margin = 2.0, 50.0, 0.5, 0.1
    worst_positive = similarity.masked_fill(~same, -_NEVER).min(dim=1, keepdim=True).values
    best_negative = similarity.masked_fill(~different, _NEVER).max(dim=1, keepdim=True).values
    positives = same & (similarity - margin < best_negative)
    negatives = different & (similarity + margin > worst_positive)
    pull = torch.where(positives, torch.exp(-alpha * (similarity - base)), 0.0).sum(dim=1)
    push = torch.where(negatives, torch.exp(beta * (similarity - base)), 0.0).sum(dim=1)
    return (torch.log1p(pull) / alpha + torch.log1p(push) / beta).mean()


def info_nce(similarity: Tensor, same: Tensor, different: Tensor) -> Tensor:
    """
    Softmax of each positive pair against all negatives of its row, temperature 0.05.

    :param similarity: cosines, ``(B, B)``
    :param same: bool ``(B, B)``, False on the diagonal
    :param different: bool ``(B, B)``
    :returns: scalar
    """
    logits = similarity / 0.05
    negatives = logits.masked_fill(~different, _NEVER).logsumexp(dim=1, keepdim=True)
    return functional.softplus(negatives - logits)[same].mean()


LOSSES: dict[str, Loss] = {
    'triplet': triplet, 'multi_similarity': multi_similarity, 'info_nce': info_nce}


def loss_of_pairs(
    name: str, descriptors: Tensor, same: NDArray[np.bool_], different: NDArray[np.bool_]
) -> Tensor:
    """
    Return one of the losses of a batch.

    :param descriptors: ``(B, D)``, unit norm
    :param same: ``(B, B)``, pairs that show the same place
    :param different: ``(B, B)``, pairs that surely do not
    """
    device = descriptors.device
    return LOSSES[name](descriptors @ descriptors.T, torch.from_numpy(same).to(device),
                        torch.from_numpy(different).to(device))


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
