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

"""What a student is drawn to: the parent's descriptors and who is whose neighbour."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.training.losses import distill
from vpr_compressed.offline.training.losses import targets
from vpr_compressed.offline.training.losses import TEMPERATURE


def unit(*rows: list[float]) -> torch.Tensor:
    """Return unit rows."""
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)


def noise(count: int, size: int, seed: int) -> torch.Tensor:
    """Return random unit rows."""
    random = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(
        torch.randn(count, size, generator=random, dtype=torch.float64), dim=1)


def test_equal_descriptors_lose_nothing() -> None:
    """And there is no gradient along the sphere."""
    parent, bank = noise(6, 8, 1), noise(30, 8, 2)
    student = parent.clone().requires_grad_()
    loss = distill(student, parent, bank)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    loss.backward()
    along = student.grad - (student.grad * parent).sum(dim=1, keepdim=True) * parent
    assert float(along.abs().max()) < 1e-12


def test_the_loss_is_cosine_and_divergence_of_rankings() -> None:
    """Against the definition, image by image."""
    student, parent, bank = noise(5, 8, 1), noise(5, 8, 2), noise(12, 8, 3)
    total = 0.0
    for one, other in zip(student.numpy(), parent.numpy()):
        p, q = (np.exp(bank.numpy() @ row / TEMPERATURE) for row in (other, one))
        p, q = p / p.sum(), q / q.sum()
        total += 1.0 - one @ other + float((p * np.log(p / q)).sum())
    assert float(distill(student, parent, bank)) == pytest.approx(total / 5)


def test_the_ranking_counts_beside_the_cosine() -> None:
    """Equally far from the parent, but only one finds another nearest image."""
    bank = unit([1.0, 0.3, 0.0], [1.0, -0.3, 0.0])
    parent = unit([1.0, 0.1, 0.0])
    kept, swapped = unit([1.0, 0.1, 0.2]), unit([1.0, 0.1 - 0.2, 0.0])
    apart = [float((found * parent).sum()) for found in (kept, swapped)]
    assert apart[0] == pytest.approx(apart[1], abs=2e-3)
    assert float(distill(swapped, parent, bank)) > 10 * float(distill(kept, parent, bank))


def test_the_gradient_leads_to_the_parent() -> None:
    """A few steps along it bring both terms down."""
    parent, bank = noise(8, 6, 1), noise(40, 6, 2)
    free = noise(8, 6, 3).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.1)
    losses = []
    for _ in range(60):
        loss = distill(torch.nn.functional.normalize(free, dim=1), parent, bank)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]


def test_targets_are_the_parents_first_dimensions() -> None:
    """Cut and normalised again, exactly; the same where nothing is cut."""
    parent = noise(7, 10, 4).numpy().astype(np.float32)
    cut = targets(parent, 4)
    assert cut.dtype == np.float32
    wanted = parent[:, :4] / np.linalg.norm(parent[:, :4], axis=1, keepdims=True)
    np.testing.assert_array_equal(cut, wanted)
    np.testing.assert_allclose(targets(parent, 10), parent, atol=1e-7)


def test_a_student_cannot_be_larger_than_its_parent() -> None:
    """There is nothing it could learn the rest from."""
    with pytest.raises(TrainingError, match='parent gives 6-D descriptors, the student 8-D'):
        targets(noise(3, 6, 1).numpy().astype(np.float32), 8)
