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

"""Which weights become zero: counts, schedules, thresholds, equal losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vpr_compressed.offline.compression.pruning_plan import allocate
from vpr_compressed.offline.compression.pruning_plan import common_threshold
from vpr_compressed.offline.compression.pruning_plan import gradual
from vpr_compressed.offline.compression.pruning_plan import smallest
from vpr_compressed.offline.compression.recipe import Sparsify
from vpr_compressed.offline.compression.steps import HANDLERS
from vpr_compressed.offline.compression.steps import SCAN
from vpr_compressed.offline.compression.steps import Work

Curves = dict[str, list[tuple[float, float]]]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return normal weights."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('share', [0.0, 0.004, 0.3, 0.5, 0.999, 1.0])
def test_exactly_the_smallest_are_chosen(share: float) -> None:
    """As many as the share says, and none larger than one that is kept."""
    weights = noise(5, 7, 3).to(memory_format=torch.contiguous_format)
    chosen = smallest(weights, share)
    assert chosen.shape == weights.shape
    assert int(chosen.sum()) == round(share * weights.numel())
    if 0 < chosen.sum() < weights.numel():
        assert float(weights[chosen].abs().max()) <= float(weights[~chosen].abs().min())


def test_the_smallest_of_strided_weights_are_the_same() -> None:
    """Trunk weights lie in memory channels last."""
    weights = noise(4, 3, 5, 5)
    strided = weights.to(memory_format=torch.channels_last)
    assert torch.equal(smallest(weights, 0.4), smallest(strided, 0.4))


def test_equal_weights_are_counted_all_the_same() -> None:
    """Ties are broken somehow, but the share is kept."""
    assert int(smallest(torch.ones(10), 0.3).sum()) == 3


@pytest.mark.parametrize('share', [0.0, 0.25, 0.6, 0.99])
def test_a_common_threshold_gives_the_share_over_all(share: float) -> None:
    """Not in each tensor: those with small weights lose more."""
    weights = [noise(40, 10), 0.1 * noise(60, 10, seed=1)]
    threshold = common_threshold(weights, share)
    gone = [int((tensor.abs() < threshold).sum()) for tensor in weights]
    assert sum(gone) == round(share * 1000)
    if 0.0 < share < 0.9:
        assert gone[1] / 600 > gone[0] / 400


@pytest.mark.parametrize('steps', [1, 2, 3, 10, 200])
def test_the_schedule_rises_and_ends_in_time(steps: int) -> None:
    """Fast at first, at the goal after 70 % of the steps, never beyond it."""
    shares = [0.8 * gradual(step, steps) for step in range(steps + 1)]
    assert all(0.0 < one <= other <= 0.8 for one, other in zip(shares, shares[1:]))
    assert shares[max(0, round(0.7 * steps) - 1)] == 0.8
    if steps == 200:
        gains = np.diff(shares[:140])
        assert (np.diff(gains) < 0).all()


def curve(price: float, power: float = 2.0) -> list[tuple[float, float]]:
    """Return what pruning a tensor costs."""
    return [(level, price * level ** power) for level in SCAN]


def cost(rows: list[tuple[float, float]], share: float) -> float:
    """Return the loss at a share, linear between the levels of the scan."""
    return float(np.interp(share, [0.0, *(level for level, _ in rows)],
                           [0.0, *(loss for _, loss in rows)]))


@pytest.mark.parametrize('share', [0.05, 0.4, 0.7, 0.9])
def test_shares_cost_the_same_and_hit_the_average(share: float) -> None:
    """Cheap tensors lose more; where one is at its end, the others make up for it."""
    table = {'cheap': curve(0.01), 'dear': curve(0.1), 'odd': curve(0.05, 4.0)}
    sizes = {'cheap': 100, 'dear': 5000, 'odd': 900}
    found = allocate(table, sizes, share)
    assert sum(found[name] * sizes[name] for name in sizes) == pytest.approx(6000 * share)
    free = [name for name in found if found[name] < SCAN[-1] - 1e-6]
    costs = [cost(table[name], found[name]) for name in free]
    assert costs == pytest.approx([costs[0]] * len(costs), rel=1e-3)
    assert found['cheap'] >= found['dear']


@pytest.mark.parametrize('table', [
    {'a': [(level, 0.0) for level in SCAN], 'b': [(level, 0.0) for level in SCAN]},
    {'a': [(level, 0.0) for level in SCAN], 'b': curve(0.1)},
    {'a': [(0.3, 0.0), (0.5, 0.2), (0.7, 0.2), (0.9, 0.2), (0.98, 0.2)], 'b': curve(0.1)},
], ids=['both free', 'one free', 'steps'])
@pytest.mark.parametrize('share', [0.0, 0.3, 0.6])
def test_flat_curves_still_hit_the_average(table: Curves, share: float) -> None:
    """Where a whole stretch costs the same, no more than asked is taken."""
    sizes = {'a': 300, 'b': 700}
    found = allocate(table, sizes, share)
    assert sum(found[name] * sizes[name] for name in sizes) == pytest.approx(1000 * share)
    assert all(0.0 <= value <= 0.999 for value in found.values())


def test_shares_beyond_the_scan_are_hit_or_refused() -> None:
    """Sparsity may be up to 0.999 in a recipe."""
    found = allocate({'a': curve(0.1), 'b': curve(0.2)}, {'a': 10, 'b': 10}, 0.99)
    assert sum(found.values()) / 2 == pytest.approx(0.99)


@pytest.mark.parametrize(('options', 'share'), [
    ({'method': 'magnitude', 'sparsity': 0.5}, 0.5),
    ({'method': 'sensitivity', 'sparsity': 0.6, 'images': 8}, 0.6),
    ({'method': 'threshold', 'sparsity': 0.55}, 0.55),
    ({'method': 'threshold', 'threshold': 0.2}, None),
    ({'method': 'magnitude', 'sparsity': 0.5, 'tensors': ('projection',)}, 0.5),
])
def test_each_method_reaches_its_share_without_training(
    options: dict[str, Any], share: float | None, make_student: Callable[[], Any], views: Any
) -> None:
    """At once if the step does not train; notes say what was chosen."""
    student, step = make_student(), Sparsify(**options)
    before = student.network.tensors()
    work = Work(student, views, (1, 0), lambda *_: None)
    handler = HANDLERS[Sparsify]
    handler.begin(work, step)
    handler.end(work, step)
    chosen = list(work.notes['shares'])
    after = student.network.tensors()
    zeros = sum((after[name] == 0).sum() for name in chosen)
    total = sum(after[name].size for name in chosen)
    if share is None:
        for name in chosen:
            np.testing.assert_array_equal(after[name] == 0, np.abs(before[name]) < 0.2)
    else:
        assert zeros / total == pytest.approx(share, abs=0.005)
    for name, value in after.items():
        np.testing.assert_array_equal(value[value != 0], before[name][value != 0])
    assert chosen == ['projection.weight'] or len(chosen) == 6
    assert ('sensitivity' in work.notes) == (step.method == 'sensitivity')
