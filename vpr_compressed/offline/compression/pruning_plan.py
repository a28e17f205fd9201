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
How much is pruned of what: single weights of each tensor, and channels of each group.

Either by one share, by one threshold for all, or by measured sensitivity. Plans of channels
return group name -> kept channels, for :mod:`vpr_compressed.offline.compression.structure` to
remove or to mask. Numbers of channels are multiples of 8 unless told otherwise: the int8 kernels
of CPUs work on blocks of channels, and 57 channels take the time of 64.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression.structure import channel_groups
from vpr_compressed.offline.compression.structure import resized

#: Group name -> importance of its channels.
GroupScores = Mapping[str, NDArray[np.floating[Any]]]
#: Name of a tensor or group -> (share removed, loss of score) pairs, both rising.
Losses = Mapping[str, Sequence[tuple[float, float]]]
#: What is counted of a network: its channels, or its multiplications.
Cost = Callable[[NetworkSpec], int]


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


def common_threshold(weights: Iterable[Tensor], share: float) -> float:
    """
    Return the one absolute value below which a share of all weights together lies.

    :param share: in [0, 1)
    """
    magnitudes = np.concatenate([
        tensor.detach().abs().flatten().cpu().numpy() for tensor in weights])
    place = min(round(share * magnitudes.size), magnitudes.size - 1)
    return float(np.partition(magnitudes, place)[place])


def gradual(step: int, steps: int) -> float:
    """
    Return the part of the final share of zeros after a training step: fast first, then slowly.

    ``1 - (1 - t / T)^3`` (Zhu and Gupta, 2017), with T at 70 % of the steps so that the network
    can recover at the end.

    :param step: from 0
    """
    end = max(1, round(0.7 * steps))
    return float(1.0 - max(0.0, 1.0 - (step + 1) / end) ** 3)


def scan(
    names: Iterable[str], levels: Sequence[float], score: Callable[[str, float], float], *,
    whole: float, report: Callable[[int, int], None] = lambda _done, _total: None
) -> dict[str, list[tuple[float, float]]]:
    """
    Prune one tensor or group at a time and see what each share costs.

    :param levels: shares removed, rising
    :param score: measures the network without a share of the one named; larger is better
    :param whole: score of the network as it is
    :param report: called with measurements done and in all; may raise to cancel
    :returns: name -> (share removed, loss of score) pairs; the loss never falls with the share
    :raises ConfigError: if a score is not finite
    """
    table: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    done = 0
    for name, rows in table.items():
        worst = 0.0
        for level in levels:
            found = score(name, level)
            if not math.isfinite(found):
                raise ConfigError(
                    f'the score of {name} without {level:g} of it is {found}; a finite number is '
                    'needed')
            worst = max(worst, whole - found)
            rows.append((level, worst))
            done += 1
            report(done, len(table) * len(levels))
    return table


def allocate(table: Losses, sizes: Mapping[str, int], share: float) -> dict[str, float]:
    """
    Choose a share of zeros per tensor that costs the same everywhere and is ``share`` overall.

    :param table: what :func:`scan` returned
    :param sizes: name -> number of weights
    :returns: name -> share of zeros
    """
    total = sum(sizes.values())
    low, high = 0.0, max(loss for rows in table.values() for _, loss in rows)
    for _ in range(60):
        middle = (low + high) / 2.0
        found = _shares_at(table, middle)
        if sum(found[name] * sizes[name] for name in sizes) < share * total:
            low = middle
        else:
            high = middle
    chosen = _shares_at(table, high)
    reached = sum(chosen[name] * sizes[name] for name in sizes) / total
    if reached >= share:  # a flat stretch was taken whole
        return {name: value * share / reached for name, value in chosen.items()}
    # All tensors are at the end of the scan: what is left shrinks alike.
    left = (1.0 - share) / (1.0 - reached)
    return {name: 1.0 - (1.0 - value) * left for name, value in chosen.items()}


def keep_per_layer(
    spec: NetworkSpec, scores: GroupScores, ratio: float, *, multiple_of: int = 8
) -> dict[str, NDArray[np.int64]]:
    """
    Keep the same share of every group.

    :param scores: importance of the groups that may be pruned
    :param ratio: share kept, in (0, 1]
    :param multiple_of: what numbers of kept channels are rounded up to, unless a group has fewer
    :returns: group name -> kept channels, of all groups in ``scores``
    """
    sizes = _sizes(spec, scores)
    return _best(scores, {name: _fitted(ratio * size, size, multiple_of)
                          for name, size in sizes.items()})


def keep_globally(
    spec: NetworkSpec, scores: GroupScores, share: float, cost: Cost, *, multiple_of: int = 8,
    normalise: bool = True
) -> dict[str, NDArray[np.int64]]:
    """
    Keep the channels above one threshold that holds for all groups.

    The lowest threshold is searched whose network, with its numbers of channels rounded, stays
    within the share.

    :param scores: importance of the groups that may be pruned
    :param share: of the present cost that may stay, in (0, 1]
    :param normalise: divide the scores of each group by their mean first; right for all
        criteria whose values do not compare between groups
    :returns: group name -> kept channels, of all groups in ``scores``
    :raises ConfigError: nothing can be pruned, or the share cannot be reached
    """
    means = {name: float(np.mean(values)) if normalise else 1.0
             for name, values in scores.items()}
    relative = {name: values / (means[name] or 1.0) for name, values in scores.items()}

    def counts(threshold: float) -> dict[str, float]:
        return {name: float((values >= threshold).sum()) for name, values in relative.items()}

    levels = np.unique(np.concatenate([*relative.values(), [0.0, np.inf]]))
    return _best(scores, _search(
        spec, _sizes(spec, scores), counts, levels, share=share, cost=cost,
        multiple_of=multiple_of))


def keep_by_sensitivity(
    spec: NetworkSpec, scores: GroupScores, table: Losses, share: float, cost: Cost, *,
    multiple_of: int = 8
) -> dict[str, NDArray[np.int64]]:
    """
    Prune each group as far as costs the same: the smallest loss that reaches the share.

    A group loses the largest share whose measured loss is allowed; between measured shares it
    is interpolated. The loss allowed is the same for all groups.

    :param table: what :func:`scan` returned; groups that are missing keep everything
    :param share: of the present cost that may stay, in (0, 1]
    :returns: group name -> kept channels, of all groups in ``scores``
    :raises ConfigError: nothing can be pruned, or the share cannot be reached
    """
    sizes = _sizes(spec, scores)

    def counts(loss: float) -> dict[str, float]:
        gone = _shares_at(table, loss)
        return {name: (1.0 - gone.get(name, 0.0)) * size for name, size in sizes.items()}

    worst = max((rows[-1][1] for rows in table.values()), default=0.0)
    return _best(scores, _search(
        spec, sizes, counts, np.linspace(0.0, worst, 1025), share=share, cost=cost,
        multiple_of=multiple_of))


def _shares_at(table: Losses, loss: float) -> dict[str, float]:
    """Return the largest share of each name that costs no more, linear up to the next measured."""
    found = {}
    for name, rows in table.items():
        losses = np.maximum.accumulate([0.0, *(lost for _, lost in rows)])
        found[name] = float(np.interp(loss, losses, [0.0, *(share for share, _ in rows)]))
    return found


def _sizes(spec: NetworkSpec, scores: GroupScores) -> dict[str, int]:
    """Return the numbers of channels of the groups that have scores."""
    if not scores:
        raise ConfigError('there are no scores, so nothing can be pruned; score some groups')
    sizes = {group.name: group.channels for group in channel_groups(spec)}
    return {name: sizes[name] for name in scores}


def _fitted(count: float, channels: int, multiple_of: int) -> int:
    """Return the next allowed number of channels, at most ``channels``."""
    blocks = math.ceil(max(count, multiple_of) / multiple_of - 1e-9)
    return min(blocks * multiple_of, channels)


def _search(
    spec: NetworkSpec, sizes: Mapping[str, int], counts: Callable[[float], dict[str, float]],
    levels: NDArray[np.floating[Any]], *, share: float, cost: Cost, multiple_of: int
) -> dict[str, int]:
    """Return the counts of the first of the rising, ever stricter levels within the share."""
    def fitted(place: int) -> dict[str, int]:
        return {name: _fitted(count, sizes[name], multiple_of)
                for name, count in counts(float(levels[place])).items()}

    full = cost(spec)
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if cost(resized(spec, fitted(middle))) <= full * share:
            high = middle
        else:
            low = middle + 1
    result = fitted(low)
    reached = cost(resized(spec, result))
    if reached > full * share:
        raise ConfigError(
            f'pruning cannot get below {reached / full:.3f} of the network, {share:.3f} is '
            'wanted; lower "multiple_of", score more groups, or ask for less')
    return result


def _best(scores: GroupScores, counts: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Return the channels of highest score of each group, rising; ties go to the first."""
    return {name: np.sort(np.argsort(-np.asarray(scores[name], np.float64), kind='stable')[:count])
            for name, count in counts.items()}
