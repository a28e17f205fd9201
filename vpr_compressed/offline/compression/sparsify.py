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

"""Which single weights become zero: by magnitude, by the paper's threshold, by sensitivity."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

#: Shares of zeros tried by the sensitivity scan.
SCAN = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


def smallest(weights: Tensor, share: float) -> Tensor:
    """
    Return which weights are among the smallest magnitudes.

    :param share: in [0, 1]; exactly ``round(share * count)`` weights are chosen
    :returns: bool, shape of the weights
    """
    count = round(share * weights.numel())
    chosen = torch.zeros(weights.numel(), dtype=torch.bool)
    if count > 0:
        magnitude = weights.detach().abs().flatten().cpu().numpy()
        chosen[torch.from_numpy(np.argpartition(magnitude, count - 1)[:count])] = True
    return chosen.view(weights.shape).to(weights.device)


def below(weights: Tensor, threshold: float) -> Tensor:
    """Return which weights are smaller than one absolute threshold (Saha et al., ACPR 2017)."""
    return weights.detach().abs() < threshold


def common_threshold(weights: Iterable[Tensor], share: float) -> float:
    """
    Return the one absolute value below which a share of all weights together lies.

    :param share: in [0, 1)
    """
    magnitudes = np.concatenate([
        tensor.detach().abs().flatten().cpu().numpy() for tensor in weights])
    place = min(round(share * magnitudes.size), magnitudes.size - 1)
    return float(np.partition(magnitudes, place)[place])


def gradual(final: float, step: int, steps: int) -> float:
    """
    Return the share of zeros after a training step: fast first, then slowly, then constant.

    ``s = s_f (1 - (1 - t / T)^3)`` (Zhu and Gupta, 2017), with T at 70 % of the steps so that
    the network can recover at the end.

    :param step: from 0
    """
    end = max(1, round(0.7 * steps))
    left = max(0.0, 1.0 - (step + 1) / end)
    return final * (1.0 - left ** 3)


def scan(
    weights: Mapping[str, Tensor], score: Callable[[], float], *,
    levels: Sequence[float] = SCAN, report: Callable[[int, int], None] = lambda _i, _n: None
) -> dict[str, list[tuple[float, float]]]:
    """
    Prune each tensor alone and see what it costs.

    :param weights: name -> tensor of the live network; restored afterwards
    :param score: measures the network as it is, larger is better
    :param report: called with measurements done and in all
    :returns: name -> (share of zeros, loss of score) pairs, loss never falling with the share
    """
    whole = score()
    table: dict[str, list[tuple[float, float]]] = {}
    done, total = 0, len(weights) * len(levels)
    for name, tensor in weights.items():
        kept = tensor.detach().clone()
        rows: list[tuple[float, float]] = []
        worst = 0.0
        for level in levels:
            with torch.no_grad():
                tensor.copy_(kept.masked_fill(smallest(kept, level), 0.0))
            worst = max(worst, whole - score())
            rows.append((level, worst))
            done += 1
            report(done, total)
        with torch.no_grad():
            tensor.copy_(kept)
        table[name] = rows
    return table


def allocate(
    table: Mapping[str, Sequence[tuple[float, float]]], sizes: Mapping[str, int], share: float
) -> dict[str, float]:
    """
    Choose a share of zeros per tensor that costs the same everywhere and is ``share`` overall.

    :param table: what :func:`scan` returned
    :param sizes: name -> number of weights
    :returns: name -> share of zeros
    """
    total = sum(sizes.values())
    most = max(loss for rows in table.values() for _, loss in rows)

    def shares(allowed: float) -> dict[str, float]:
        result = {}
        for name, rows in table.items():
            levels = np.array([0.0, *(level for level, _ in rows)])
            losses = np.maximum.accumulate([0.0, *(loss for _, loss in rows)])
            # The largest level whose loss is allowed, linear up to the next one.
            index = int(np.searchsorted(losses, allowed, side='right')) - 1
            level = levels[index]
            if index + 1 < len(levels):
                step = losses[index + 1] - losses[index]
                level += (levels[index + 1] - level) * (allowed - losses[index]) / step
            result[name] = float(level)
        return result

    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2.0
        found = shares(middle)
        if sum(found[name] * sizes[name] for name in sizes) < share * total:
            low = middle
        else:
            high = middle
    chosen = shares(high)
    reached = sum(chosen[name] * sizes[name] for name in sizes) / total
    if reached >= share:  # a flat stretch was taken whole
        return {name: value * share / reached for name, value in chosen.items()}
    # All tensors are at the end of the scan: what is left shrinks alike.
    left = (1.0 - share) / (1.0 - reached)
    return {name: 1.0 - (1.0 - value) * left for name, value in chosen.items()}
