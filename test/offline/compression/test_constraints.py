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

"""Zeros stay zero and shared weights stay shared, whatever the optimiser does."""

from __future__ import annotations

from collections.abc import Callable
import io
from typing import Any

import numpy as np
import pytest
import torch

from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.compression.codebook import fit_codebook
from vpr_compressed.offline.compression.pruning_plan import smallest
from vpr_compressed.offline.compression.recipe import GRIDS
from vpr_compressed.offline.compression.recipe import select
from vpr_compressed.offline.compression.recipe import Sparsify
from vpr_compressed.offline.compression.steps import HANDLERS
from vpr_compressed.offline.compression.steps import Work
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training.describe import describe_views

MakeStudent = Callable[[], Any]
ROWS = np.arange(8)


def half(student: Student) -> dict[str, torch.Tensor]:
    """Return masks of half of every weight tensor."""
    named = student.network.named_tensors()
    return {name: smallest(named[name], 0.5) for name in select(list(named), ['all'])}


def share(student: Student, grid: str = 'int8', bits: int = 4, *, moving: bool = False) -> None:
    """Share all weights of a student."""
    named, constraints = student.network.named_tensors(), student.constraints
    names = select(list(named), ['all'])
    if moving:
        constraints.begin_moving(named, names)
    for name in names:
        constraints.codebooks[name] = fit_codebook(
            named[name], bits, grid, constraints.pruned.get(name))
    student.write()


def optimiser(student: Student, rate: float = 0.02) -> torch.optim.Adam:
    """Return Adam on all that is trained, with its momentum."""
    named, constraints = student.network.named_tensors(), student.constraints
    free = [value for name, value in named.items() if name not in constraints.codebooks]
    return torch.optim.Adam(
        [*free, *(value for _, values in constraints.trained() for value in values)], lr=rate)


def learn(student: Student, views: Any, adam: torch.optim.Adam, steps: int = 1) -> None:
    """Draw the descriptors towards something else than the parent."""
    goal = torch.nn.functional.normalize(
        torch.randn(len(ROWS), 16, generator=torch.Generator().manual_seed(1)), dim=1)
    named = student.network.named_tensors()
    for _ in range(steps):
        student.write()
        found = student.network(torch.from_numpy(views.batch(ROWS)))
        student.network.zero_grad(set_to_none=True)
        (-(found * goal).sum()).backward()
        student.constraints.pull(named)
        adam.step()
        student.write()


def weights(student: Student) -> dict[str, np.ndarray]:
    """Return all weights as they are."""
    return student.network.tensors()


def test_pruned_weights_stay_zero_though_adam_has_momentum(
    make_student: MakeStudent, views: Any
) -> None:
    """Pruned in the middle of training, when every weight is on the move; the rest goes on."""
    student = make_student()
    adam = optimiser(student)
    learn(student, views, adam, 4)
    masks = half(student)
    for name, mask in masks.items():
        student.constraints.prune(name, mask)
    before = weights(student)
    for _ in range(4):
        learn(student, views, adam)
        now = weights(student)
        for name, mask in masks.items():
            assert not now[name][mask.numpy()].any(), name
    assert all((now[name] != before[name])[~mask.numpy()].any() for name, mask in masks.items())


def test_pruning_again_only_adds(make_student: MakeStudent) -> None:
    """A weight that was pruned is never taken back, even by a smaller mask."""
    constraints = make_student().constraints
    constraints.prune('a', torch.tensor([True, False, False]))
    constraints.prune('a', torch.tensor([False, True, False]))
    assert constraints.pruned['a'].tolist() == [True, True, False]
    assert 'b' not in constraints.pruned


@pytest.mark.parametrize('grid', [None, *GRIDS])
def test_pruned_is_masked(grid: str | None, make_student: MakeStudent, views: Any) -> None:
    """The file without the pruned weights describes as the network under its masks."""
    student = make_student()
    for name, mask in half(student).items():
        student.constraints.prune(name, mask)
    if grid:
        share(student, grid)
    student.write()
    masked = describe_views(student.network, views, ROWS, exact=True)
    model = student.model()
    for name, mask in student.constraints.pruned.items():
        assert not model.float_tensor(name)[mask.numpy()].any()
        assert (model.float_tensor(name) == 0.0).sum() >= mask.sum()
    pruned = Student(model.spec, {name: model.float_tensor(name) for name in model.tensors},
                     model.preprocessing)
    # Biases are stored in float16 once weights are shared.
    np.testing.assert_allclose(
        describe_views(pruned.network, views, ROWS, exact=True), masked,
        atol=1e-3 if grid else 0.0)


@pytest.mark.parametrize('grid', GRIDS)
def test_membership_does_not_change_while_values_are_trained(
    grid: str, make_student: MakeStudent, views: Any
) -> None:
    """Weights that share a value keep sharing it; the values themselves move."""
    student = make_student()
    for name, mask in half(student).items():
        student.constraints.prune(name, mask)
    share(student, grid)
    books = student.constraints.codebooks
    symbols = {name: book.symbols.clone() for name, book in books.items()}
    before = weights(student)
    learn(student, views, optimiser(student), 5)
    after = weights(student)
    for name, book in books.items():
        assert torch.equal(book.symbols, symbols[name])
        assert (after[name] != before[name]).any(), name
        assert not after[name][student.constraints.pruned[name].numpy()].any()
        for row, codes in enumerate(symbols[name].flatten(1).numpy()):
            values = after[name].reshape(len(after[name]), -1)[row]
            assert len(np.unique(values)) <= len(np.unique(codes))
        assert name in student.constraints.codebooks


def test_moving_members_change_their_value_but_pruned_ones_stay_zero(
    make_student: MakeStudent, views: Any
) -> None:
    """Straight-through: latent weights learn, the network has shared values at any time."""
    student = make_student()
    masks = half(student)
    for name, mask in masks.items():
        student.constraints.prune(name, mask)
    share(student, moving=True)
    symbols = {name: book.symbols.clone() for name, book in student.constraints.codebooks.items()}
    learn(student, views, optimiser(student, 0.1), 4)
    moved = 0
    for name, book in student.constraints.codebooks.items():
        found = weights(student)[name]
        assert not found[masks[name].numpy()].any(), name
        np.testing.assert_array_equal(found, book.weight().numpy())
        moved += int((book.symbols != symbols[name]).sum())
    assert moved > 20
    fixed = weights(student)
    student.constraints.latent.clear()
    student.write()
    assert all(np.array_equal(fixed[name], value) for name, value in weights(student).items())


def test_latent_weights_get_the_gradient_of_the_weights_they_become(
    make_student: MakeStudent, views: Any
) -> None:
    """The straight-through estimator: rounding counts as the identity, zeros get nothing."""
    student = make_student()
    masks = half(student)
    for name, mask in masks.items():
        student.constraints.prune(name, mask)
    share(student, moving=True)
    plain = VprNetwork(student.spec)
    plain.load_tensors(weights(student))
    goal = torch.ones(16)
    images = torch.from_numpy(views.batch(ROWS))
    (plain(images) @ goal).sum().backward()
    (student.network(images) @ goal).sum().backward()
    student.constraints.pull(student.network.named_tensors())
    for name, latent in student.constraints.latent.items():
        wanted = plain.named_tensors()[name].grad.masked_fill(masks[name], 0.0)
        np.testing.assert_allclose(latent.grad.numpy(), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize('moving', [False, True])
def test_a_pruned_and_shared_student_goes_on_after_a_restart(
    moving: bool, make_student: MakeStudent, views: Any
) -> None:
    """Through a checkpoint in the middle: the same weights to the last bit."""
    def begin() -> tuple[Student, torch.optim.Adam]:
        student = make_student()
        for name, mask in half(student).items():
            student.constraints.prune(name, mask)
        share(student, moving=moving)
        return student, optimiser(student)

    whole, adam = begin()
    learn(whole, views, adam, 6)
    first, adam = begin()
    learn(first, views, adam, 3)
    stream = io.BytesIO()
    torch.save((first.state(), adam.state_dict()), stream)
    stream.seek(0)
    state, moments = torch.load(stream, weights_only=True)
    second = make_student()
    second.load_state(state)
    adam = optimiser(second)
    adam.load_state_dict(moments)
    learn(second, views, adam, 3)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(second)[name], value)
    assert all(torch.equal(whole.constraints.pruned[name], mask)
               for name, mask in second.constraints.pruned.items())


def test_frozen_codebooks_stay_as_they_are(make_student: MakeStudent, views: Any) -> None:
    """A trunk layer without gradient is left alone, not refused."""
    student = make_student()
    share(student)
    before = weights(student)
    student.network.freeze_layers(len(student.spec.layers))
    learn(student, views, optimiser(student), 2)
    after = weights(student)
    assert all(np.array_equal(before[name], after[name]) for name in before
               if not name.startswith(('netvlad', 'projection')))
    assert (before['projection.weight'] != after['projection.weight']).any()


def test_shapes_are_fixed_once_weights_are(make_student: MakeStudent) -> None:
    """Masks would no longer fit."""
    student = make_student()
    student.reshape(student.spec, student.network.tensors())
    student.constraints.prune('projection.weight', torch.zeros(16, 32, dtype=torch.bool))
    with pytest.raises(TrainingError, match='cannot change its shape after weights were pruned'):
        student.reshape(student.spec, student.network.tensors())


@pytest.mark.parametrize('key', ['pruned', 'codebooks', 'latent'])
def test_incomplete_constraints_are_refused(key: str, make_student: MakeStudent) -> None:
    """A checkpoint of another version."""
    student = make_student()
    share(student)
    state = student.state()
    del state['constraints'][key]
    with pytest.raises(TrainingError, match=r'incomplete.*start again with another --out'):
        make_student().load_state(state)
    broken = make_student().state()
    broken['constraints']['codebooks'] = {'a': {'symbols': None}}
    with pytest.raises(TrainingError, match='incomplete'):
        make_student().load_state(broken)


def test_latent_weights_that_are_not_finite_are_noticed(make_student: MakeStudent) -> None:
    """A gradient can overflow though the loss did not."""
    student = make_student()
    share(student, moving=True)
    with torch.no_grad():
        student.constraints.latent['projection.weight'][0, 0] = np.nan
    with pytest.raises(TrainingError):
        student.write()


def test_gradual_pruning_in_training_ends_at_its_share(
    make_student: MakeStudent, views: Any
) -> None:
    """The handler's own schedule on live weights: every tensor has its zeros, none comes back."""
    student = make_student()
    step = Sparsify(sparsity=0.6, steps=30)
    handler = HANDLERS[Sparsify]
    work = Work(student, views, (1, 0), lambda *_: None)
    handler.begin(work, step)
    adam = optimiser(student)
    shares = []
    for number in range(step.steps):
        handler.prepare(work, step, number)
        learn(student, views, adam)
        shares.append(float(student.constraints.pruned['projection.weight'].float().mean()))
    handler.end(work, step)
    assert shares == sorted(shares)
    assert 0.0 < shares[0] < shares[10] < shares[20]
    for name in work.notes['shares']:
        value = weights(student)[name]
        assert (value == 0.0).sum() == round(0.6 * value.size), name
