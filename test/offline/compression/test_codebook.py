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

"""Shared weights: k-means, the integer grid, summed gradients, exact storage."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
import pytest
import torch

from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.offline.compression import codebook
from vpr_compressed.offline.compression.codebook import Codebook
from vpr_compressed.offline.compression.codebook import fit_codebook
from vpr_compressed.offline.compression.codebook import kmeans_1d
from vpr_compressed.offline.compression.codebook import nearest
from vpr_compressed.offline.compression.codebook import PEAK
from vpr_compressed.offline.compression.recipe import BITS
from vpr_compressed.offline.compression.recipe import GRIDS

Numbers = NDArray[np.float64]
SHAPES = [(16, 40), (6, 4, 3, 3)]


def weights(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return Laplace-like weights whose channels have scales from 0.01 to 1."""
    random = np.random.default_rng(seed)
    sizes = np.geomspace(0.01, 1.0, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    return torch.from_numpy((random.laplace(size=shape) * sizes).astype(np.float32))


def trained(book: Codebook, seed: int = 1) -> Codebook:
    """Return a codebook whose values have left where k-means put them."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in book.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=random))
    book.settle()
    return book


def slow_lloyd(points: Numbers, mass: Numbers, count: int) -> Numbers:
    """Return what kmeans_1d must: point by point, ties to the upper centre."""
    kept = [(point, weight) for point, weight in zip(points, mass) if weight > 0]
    centers = list(np.linspace(kept[0][0], kept[-1][0], count))
    for _ in range(100):
        members: list[list[tuple[float, float]]] = [[] for _ in centers]
        for point, weight in kept:
            apart = [abs(point - center) for center in centers]
            owner = max(index for index, value in enumerate(apart) if value <= min(apart) + 1e-12)
            members[owner].append((point, weight))
        moved = [sum(p * w for p, w in own) / sum(w for _, w in own) if own else center
                 for own, center in zip(members, centers)]
        if moved == centers:
            break
        centers = moved
    return np.array([center for center, own in zip(centers, members) if own])


@pytest.mark.parametrize('seed', range(4))
def test_k_means_is_lloyds_algorithm(seed: int) -> None:
    """The same centres as the definition gives, point by point; empty ones are left out."""
    random = np.random.default_rng(seed)
    points = np.sort(random.laplace(size=60))
    mass = random.integers(0, 5, 60).astype(np.float64)
    np.testing.assert_allclose(
        kmeans_1d(points, mass, 9), slow_lloyd(points, mass, 9), atol=1e-9)


def test_k_means_finds_clumps() -> None:
    """Three clumps far apart: the optimum is known, their weighted means."""
    points = np.array([-1.1, -0.9, -0.05, 0.05, 0.8, 1.2])
    mass = np.array([1.0, 3.0, 1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(kmeans_1d(points, mass, 3), [-0.95, 0.0, 1.0])


def test_k_means_of_few_points_are_the_points() -> None:
    """Those that do not occur get no centre."""
    points = np.arange(6.0)
    np.testing.assert_array_equal(
        kmeans_1d(points, np.array([1.0, 0, 2, 0, 0, 1]), 3), [0.0, 2.0, 5.0])


def test_k_means_of_empty_gaps_gives_fewer_centres() -> None:
    """A centre without members would be a symbol without use."""
    points = np.concatenate([np.linspace(0.0, 0.1, 20), [1.0]])
    centers = kmeans_1d(points, np.ones(21), 8)
    assert 2 <= len(centers) < 8
    assert np.all(np.diff(centers) > 0)
    assert centers[-1] == 1.0


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('bits', BITS)
def test_int8_weights_are_integers_times_a_scale(bits: int, shape: tuple[int, ...]) -> None:
    """What integer kernels need, before and after training: few of them, within 127."""
    for book in (fit_codebook(weights(shape), bits, 'int8'),
                 trained(fit_codebook(weights(shape), bits, 'int8'))):
        stored = book.stored()
        assert isinstance(stored, QuantizedTensor)
        assert (stored.values.dtype, stored.scale.dtype) == (np.int8, np.float32)
        assert stored.values.shape == shape
        assert stored.scale.shape == shape[:1]
        assert (stored.scale > 0).all()
        assert np.abs(stored.values.astype(int)).max() <= PEAK
        assert len(np.unique(stored.values)) <= 2 ** bits
        assert len(book.levels) <= 2 ** bits


@pytest.mark.parametrize('bits', BITS)
def test_float_weights_share_few_values(bits: int) -> None:
    """The codebook of the paper."""
    book = trained(fit_codebook(weights(SHAPES[0]), bits, 'float'))
    stored = book.stored()
    assert isinstance(stored, CodebookTensor)
    assert len(stored.codebook) <= 2 ** bits
    assert len(np.unique(stored.dequantize())) <= 2 ** bits
    assert 0.0 in stored.codebook


@pytest.mark.parametrize('grid', GRIDS)
def test_fewer_bits_cost_more_and_k_means_beats_equal_steps(grid: str) -> None:
    """The error grows as bits go, and stays below that of equally spaced values."""
    values = torch.from_numpy(np.random.default_rng(2).laplace(size=(8, 500)).astype(np.float32))
    errors = [float((fit_codebook(values, bits, grid).weight() - values).square().mean())
              for bits in BITS]
    assert errors == sorted(errors)
    peak = values.abs().amax(dim=1, keepdim=True) if grid == 'int8' else values.abs().max()
    equal = (values / peak * 15).round() / 15 * peak
    assert errors[BITS.index(5)] < float((equal - values).square().mean())


def test_eight_bits_on_the_grid_are_plain_rounding() -> None:
    """Half a step of each channel at most; the step itself is rounded to float16."""
    values = weights(SHAPES[1])
    book = fit_codebook(values, 8, 'int8')
    step = values.abs().flatten(1).amax(dim=1).view(-1, 1, 1, 1) / PEAK
    assert bool(((book.weight() - values).abs() <= 0.5 * (1 + 2 ** -11) * step + 1e-9).all())


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('bits', [8, 3])
def test_pruned_weights_are_zero_and_stay_it(grid: str, bits: int) -> None:
    """Zero has a value of its own that no gradient moves."""
    values = weights(SHAPES[0])
    pruned = values.abs() > 0.5 * values.abs().max()  # large ones, which would not become zero
    book = fit_codebook(values, bits, grid, pruned)
    optimizer = torch.optim.Adam(book.parameters(), lr=0.1)
    for _ in range(5):
        assert bool((book.weight()[pruned] == 0.0).all())
        book.pull(torch.ones(SHAPES[0]))
        assert float(book.levels.grad[book.zero]) == 0.0
        optimizer.step()
        book.settle()
    assert bool((book.weight()[~pruned] != 0.0).any())
    assert float(book.levels.detach().abs().max()) <= (1.0 if grid == 'int8' else np.inf)


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('values', [
    torch.zeros(4, 6), torch.full((4, 6), -0.25), torch.full((1, 1), 3.0),
    torch.tensor([[0.0, 0.0], [2.0, -2.0]])], ids=['zero', 'equal', 'single', 'empty channel'])
def test_degenerate_tensors_are_shared_without_loss(grid: str, values: torch.Tensor) -> None:
    """Zeros, one value, one weight, a channel of zeros; scales are rounded to float16."""
    book = fit_codebook(values, 5, grid)
    rtol = 2 ** -11 if grid == 'int8' else 1e-5
    np.testing.assert_allclose(book.weight().numpy(), values.numpy(), rtol=rtol, atol=2e-5)
    assert bool((book.weight()[values == 0.0] == 0.0).all())
    assert np.isfinite(book.stored().dequantize()).all()


def test_all_pruned_is_all_zero() -> None:
    """Nothing is left to share."""
    values = weights(SHAPES[0])
    book = fit_codebook(values, 4, 'int8', torch.ones_like(values, dtype=torch.bool))
    assert not book.weight().any()
    assert len(book.levels) == 1


def test_nearest_is_the_nearest(rng: np.random.Generator) -> None:
    """Against the obvious search, levels in any order, values beyond both ends."""
    levels = torch.from_numpy(rng.standard_normal(256).astype(np.float32))
    values = torch.from_numpy(3 * rng.standard_normal((7, 11, 3)).astype(np.float32))
    found = nearest(values, levels)
    assert found.dtype == torch.uint8
    assert found.shape == values.shape
    chosen = (levels[found.long()] - values).abs()
    best = (levels.view(-1, 1, 1, 1) - values).abs().amin(dim=0)
    np.testing.assert_allclose(chosen.numpy(), best.numpy(), atol=1e-6)
    extremes = nearest(torch.tensor([-1e30, 1e30, np.inf, -np.inf]), levels).long()
    low, high = int(levels.argmin()), int(levels.argmax())
    assert extremes.tolist() == [low, high, high, low]
    assert nearest(values, torch.tensor([2.0])).sum() == 0


def test_nearest_reads_strided_values() -> None:
    """Trunk weights lie in memory channels last."""
    values = weights(SHAPES[1]).to(memory_format=torch.channels_last)
    levels = torch.linspace(-1, 1, 9)
    np.testing.assert_array_equal(
        nearest(values, levels).numpy(), nearest(values.contiguous(), levels).numpy())


def test_sharing_is_odd() -> None:
    """Weights of the other sign get values of the other sign: no tensor is shifted as a whole."""
    levels = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0]) / PEAK
    values = torch.arange(-4.0, 5.0) / PEAK
    one, other = levels[nearest(values, levels).long()], levels[nearest(-values, levels).long()]
    np.testing.assert_array_equal(one.numpy(), -other.numpy())


def by_autograd(
    book: Codebook, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return gradients of levels and log scales by indexing that autograd sees, in float64."""
    levels = book.levels.detach().double().requires_grad_()
    used = levels
    if book.log_scale is not None:
        used = levels + ((levels * PEAK).round() / PEAK - levels).detach()  # straight through
    made = used[book.symbols.long()] * book._unit
    log_scale = None
    if book.log_scale is not None:
        log_scale = book.log_scale.detach().double().requires_grad_()
        made = made * log_scale.exp().view(-1, *(1,) * (made.dim() - 1))
    made.backward(gradient.double())
    found = levels.grad.clone()
    found[book.zero] = 0.0
    return found, None if log_scale is None else log_scale.grad


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('grid', GRIDS)
def test_gradients_are_summed_over_members(grid: str, shape: tuple[int, ...]) -> None:
    """The same as autograd through an explicit table, for values and for scales."""
    book = trained(fit_codebook(weights(shape), 4, grid))
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    if len(shape) == 4:
        gradient = gradient.to(memory_format=torch.channels_last)
    levels, log_scale = by_autograd(book, gradient)
    book.pull(gradient)
    np.testing.assert_allclose(book.levels.grad.numpy(), levels.numpy(), rtol=1e-4, atol=1e-5)
    if log_scale is not None:
        np.testing.assert_allclose(
            book.log_scale.grad.numpy(), log_scale.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('grid', GRIDS)
def test_gradients_are_those_of_the_loss(grid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against differences of a curved loss, without the float16 steps of scales."""
    monkeypatch.setattr(codebook, 'round_scale', lambda scale: scale)
    book = trained(fit_codebook(weights((5, 30)), 4, grid))

    def loss() -> float:
        return float(book.weight().double().sin().square().sum())

    made = book.weight().double().requires_grad_()
    made.sin().square().sum().backward()
    book.pull(made.grad.float())
    parameter = book.levels if book.log_scale is None else book.log_scale
    step = 1e-3
    for index in range(len(parameter)):
        if grid == 'float' and index == book.zero:
            continue
        with torch.no_grad():
            parameter[index] += step
            above = loss()
            parameter[index] -= 2 * step
            below = loss()
            parameter[index] += step
        assert float(parameter.grad[index]) == pytest.approx(
            (above - below) / (2 * step), rel=0.02, abs=2e-3)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('bits', [8, 5])
def test_what_is_stored_is_what_runs(bits: int, grid: str, shape: tuple[int, ...]) -> None:
    """Bit for bit, or the measured file is not the trained network."""
    book = trained(fit_codebook(weights(shape), bits, grid))
    np.testing.assert_array_equal(book.stored().dequantize(), book.weight().numpy())


@pytest.mark.parametrize('grid', GRIDS)
def test_state_comes_back_exactly(grid: str) -> None:
    """Through a file as checkpoints are written, to the last bit, and free to be trained on."""
    book = trained(fit_codebook(weights(SHAPES[0]), 5, grid))
    stream = io.BytesIO()
    torch.save(book.state(), stream)
    stream.seek(0)
    again = Codebook.from_state(torch.load(stream, weights_only=True))
    for one, other in zip(book.parameters(), again.parameters()):
        assert torch.equal(one, other)
        assert other.requires_grad
    assert torch.equal(book.symbols, again.symbols)
    assert torch.equal(book.weight(), again.weight())
    assert (book.zero, book.grid) == (again.zero, again.grid)


def test_a_state_does_not_change_with_its_codebook() -> None:
    """A checkpoint in the making must not see the next step."""
    book = fit_codebook(weights(SHAPES[0]), 5, 'int8')
    state = book.state()
    before = state['levels'].clone()
    trained(book)
    book.assign(-weights(SHAPES[0]))
    assert torch.equal(state['levels'], before)
    assert not torch.equal(state['symbols'], book.symbols)


@pytest.mark.parametrize('grid', GRIDS)
def test_assign_moves_members_to_the_nearest_value_that_is_used(grid: str) -> None:
    """Levels count as the integer they are rounded to, scales as the float16 that is stored."""
    values = weights(SHAPES[0])
    book = trained(fit_codebook(values, 4, grid))
    book.assign(values)
    stored, levels = book.stored(), book.levels.detach()
    if isinstance(stored, QuantizedTensor):
        scale = torch.from_numpy(stored.scale).view(-1, 1)
        used = (levels * PEAK).round()
    else:
        scale, used = torch.ones(1, 1), torch.from_numpy(stored.codebook)
    best = (used.view(-1, 1, 1) - values / scale).abs().amin(dim=0) * scale
    np.testing.assert_allclose(
        (book.weight() - values).abs().detach().numpy(), best.numpy(), atol=1e-6)


def move_of(size: float, rate: float) -> float:
    """Return how far one Adam step moves the values of the float grid, relative to them."""
    book = fit_codebook(size * weights((6, 50)), 4, 'float')
    before = book.weight().clone()
    optimizer = torch.optim.Adam(book.parameters(), lr=rate)
    book.pull(torch.ones(6, 50))
    optimizer.step()
    return float((book.weight() - before).abs().mean() / before.abs().mean())


def test_learning_rates_are_relative_to_the_size_of_the_weights() -> None:
    """As recipe.py says of lr_codebook; the network does not change when a layer is rescaled."""
    assert move_of(0.01, 1e-3) == pytest.approx(move_of(1.0, 1e-3), rel=0.05)
