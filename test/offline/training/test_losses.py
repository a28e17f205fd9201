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

"""Losses: hand-computed cases, direction of the gradient, pairs that do not count."""

from __future__ import annotations

import math

import pytest
import torch

from vpr_compressed.offline.training.losses import info_nce
from vpr_compressed.offline.training.losses import LOSSES
from vpr_compressed.offline.training.losses import multi_similarity
from vpr_compressed.offline.training.losses import triplet

SAME = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
DIFFERENT = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0]], dtype=torch.bool)


def _similarity(positive: float, first: float, second: float) -> torch.Tensor:
    """Return cosines of two images of one place (0, 1) and one of another (2)."""
    return torch.tensor([[1.0, positive, first], [positive, 1.0, second], [first, second, 1.0]])


def test_triplet_is_the_hinge_of_the_paper() -> None:
    """Half the margin 0.1 plus the difference of squared distances, hardest negative."""
    found = float(triplet(_similarity(0.8, 0.79, 0.2), SAME, DIFFERENT))
    first = 0.5 * (0.1 + (2 - 2 * 0.8) - (2 - 2 * 0.79))
    assert found == pytest.approx(first / 2, abs=1e-6)  # the second anchor is far enough


def test_info_nce_is_the_softmax_of_the_pair() -> None:
    """Cross entropy of the positive against the negatives at temperature 0.05."""
    found = float(info_nce(_similarity(0.8, 0.7, 0.6), SAME, DIFFERENT))
    expected = [-math.log(math.exp(16) / (math.exp(16) + math.exp(20 * n))) for n in (0.7, 0.6)]
    assert found == pytest.approx(sum(expected) / 2, abs=1e-5)


def test_multi_similarity_is_the_formula_of_the_paper() -> None:
    """One positive and one negative per row count; a row without a positive does not."""
    found = float(multi_similarity(_similarity(0.6, 0.55, 0.58), SAME, DIFFERENT))
    rows = [math.log1p(math.exp(-2 * (0.6 - 0.5))) / 2 + math.log1p(math.exp(50 * (n - 0.5))) / 50
            for n in (0.55, 0.58)]
    assert found == pytest.approx(sum(rows) / 3, abs=1e-5)


@pytest.mark.parametrize('name', LOSSES)
def test_a_step_down_the_loss_separates_places(name: str) -> None:
    """The gradient pulls the pair together and pushes the other place away."""
    similarity = _similarity(0.5, 0.6, 0.6).requires_grad_()
    LOSSES[name](similarity, SAME, DIFFERENT).backward()
    assert float(similarity.grad[SAME].sum()) < 0
    assert float(similarity.grad[DIFFERENT].sum()) > 0


@pytest.mark.parametrize('name', LOSSES)
def test_pairs_in_neither_mask_do_not_count(name: str) -> None:
    """Images too near to be called different leave the loss unchanged."""
    different = DIFFERENT.clone()
    different[1, 2] = different[2, 1] = False
    losses = [float(LOSSES[name](_similarity(0.5, 0.6, value), SAME, different))
              for value in (-0.3, 0.99)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
