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
How many channels each group keeps: one share, one threshold for all, or by measured sensitivity.

All plans return group name -> kept channels, for
:mod:`vpr_compressed.offline.compression.structure` to remove or to mask. Numbers
of channels are multiples of 8 unless told otherwise: the int8 kernels of CPUs work on blocks of
channels, and 57 channels take the time of 64.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import suggest
from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression.structure import channel_groups
from vpr_compressed.offline.compression.structure import ChannelGroup
from vpr_compressed.offline.compression.structure import mask_channels
from vpr_compressed.offline.compression.structure import resized
from vpr_compressed.offline.compression.structure import Tensors

#: Group name -> importance of its channels.
GroupScores = Mapping[str, NDArray[np.floating[Any]]]
#: Group name -> share of channels kept -> what ``evaluate`` said (more is better).
SensitivityTable = dict[str, dict[float, float]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """
    What a plan has to reach; exactly one of the two shares.

    :param channels: share of all scored channels that may stay, in (0, 1]
    :param multiply_adds: share of the network's multiplications that may stay, in (0, 1]
    :param width: network input in pixels; used with ``multiply_adds``
    :param height: network input in pixels; used with ``multiply_adds``
    """

    channels: float | None = None
    multiply_adds: float | None = None
    width: int = 320
    height: int = 240

    def __post_init__(self) -> None:
        given = [share for share in (self.channels, self.multiply_adds) if share is not None]
        if len(given) != 1 or not 0.0 < given[0] <= 1.0:
            raise ConfigError(
                f'a pruning target is either a share of channels or one of multiply_adds, in '
                f'(0, 1]; got channels={self.channels}, multiply_adds={self.multiply_adds}')

    def cost(self, spec: NetworkSpec, names: Iterable[str]) -> int:
        """Return what is counted of a network: channels of the groups named, or multiply-adds."""
        if self.multiply_adds is not None:
            return sum(multiply_adds(spec, self.width, self.height).values())
        wanted = set(names)
        return sum(group.channels for group in channel_groups(spec) if group.name in wanted)

    @property
    def share(self) -> float:
        """The share that may stay."""
        return float(self.channels if self.channels is not None else self.multiply_adds or 1.0)


@dataclass(frozen=True, kw_only=True)
class Grain:
    """
    Which numbers of channels are allowed.

    :param minimum: no group keeps fewer, unless it has fewer
    :param multiple_of: numbers are rounded up to a multiple; the full number is always allowed
    """

    minimum: int = 8
    multiple_of: int = 8

    def __post_init__(self) -> None:
        if min(self.minimum, self.multiple_of) < 1:
            raise ConfigError(f'minimum and multiple_of must be 1 or more, got {self}')

    def fit(self, count: float, channels: int) -> int:
        """Return the next allowed number of channels, at most ``channels``."""
        blocks = math.ceil(max(count, self.minimum) / self.multiple_of - 1e-9)
        return min(blocks * self.multiple_of, channels)


def keep_per_layer(
    spec: NetworkSpec, scores: GroupScores, ratio: float, *, grain: Grain | None = None
) -> dict[str, NDArray[np.int64]]:
    """
    Keep the same share of every group.

    :param scores: importance of the groups that may be pruned
    :param ratio: share kept, in (0, 1]
    :returns: group name -> kept channels, of all groups in ``scores``
    :raises ConfigError: unknown group, a share out of range, or scores that do not fit
    """
    groups = _scored(spec, scores)
    if not 0.0 < ratio <= 1.0:
        raise ConfigError(f'groups cannot keep a share of {ratio!r}; use (0, 1]')
    counts = {name: (grain or Grain()).fit(ratio * group.channels, group.channels)
              for name, group in groups.items()}
    return _best(scores, counts)


def keep_globally(
    spec: NetworkSpec, scores: GroupScores, target: Target, *, grain: Grain | None = None,
    normalise: bool = True
) -> dict[str, NDArray[np.int64]]:
    """
    Keep the channels above one threshold that holds for all groups.

    The lowest threshold is searched whose network, with its numbers of channels rounded to the
    grain, stays within the target.

    :param scores: importance of the groups that may be pruned
    :param normalise: divide the scores of each group by their mean first; right for all
        criteria whose values do not compare between groups
    :returns: group name -> kept channels, of all groups in ``scores``
    :raises ConfigError: scores do not fit, or the target cannot be reached
    """
    groups = _scored(spec, scores)
    means = {name: float(np.mean(values)) if normalise else 1.0
             for name, values in scores.items()}
    relative = {name: values / (means[name] or 1.0) for name, values in scores.items()}

    def counts(threshold: float) -> dict[str, float]:
        return {name: float((values >= threshold).sum()) for name, values in relative.items()}

    levels = np.unique(np.concatenate([*relative.values(), [0.0, np.inf]]))
    return _best(scores, _search(spec, groups, target, grain or Grain(), counts, levels))


def keep_by_sensitivity(
    spec: NetworkSpec, scores: GroupScores, table: SensitivityTable, target: Target, *,
    grain: Grain | None = None
) -> dict[str, NDArray[np.int64]]:
    """
    Prune each group as far as costs the same: the smallest loss that reaches the target.

    A group keeps the smallest share whose measured loss, against the best value in the table,
    is allowed; shares between measured ones are interpolated. The loss allowed is the same for
    all groups, and the smallest one that stays within the target.

    :param table: see :func:`sensitivity`; groups that are missing keep everything
    :returns: group name -> kept channels, of all groups in ``scores``
    :raises ConfigError: table or scores do not fit, or the target cannot be reached
    """
    groups = _scored(spec, scores)
    for name in table:
        if name not in groups:
            raise ConfigError(f'no scored channel group {name!r}{suggest(name, groups)}')
    best = max((value for row in table.values() for value in row.values()), default=0.0)
    curves = {name: _curve(row, best) for name, row in table.items()}

    def counts(loss: float) -> dict[str, float]:
        shares = {name: float(np.interp(loss, losses, kept))
                  for name, (losses, kept) in curves.items()}
        return {name: shares.get(name, 1.0) * group.channels for name, group in groups.items()}

    worst = max((float(losses[-1]) for losses, _ in curves.values()), default=0.0)
    levels = np.linspace(0.0, worst, 1025)
    return _best(scores, _search(spec, groups, target, grain or Grain(), counts, levels))


def sensitivity(
    spec: NetworkSpec, tensors: Tensors, scores: GroupScores, ratios: Sequence[float],
    evaluate: Callable[[dict[str, NDArray[np.float32]]], float], *,
    grain: Grain | None = None, progress: Callable[[int, int], None] = lambda _, __: None
) -> SensitivityTable:
    """
    Prune one group at a time and see what each costs.

    :param scores: importance of the groups to scan
    :param ratios: shares of channels kept, each in (0, 1]; 1 is measured once and added
    :param evaluate: takes weights of ``spec`` with channels masked; more is better
    :param progress: called with evaluations done and in all; may raise to cancel
    :returns: group name -> share kept -> value, shares falling from 1
    :raises ConfigError: a share is out of range, scores do not fit, or a value is not finite
    """
    wanted = sorted({*ratios} - {1.0}, reverse=True)
    total = 1 + len(wanted) * len(scores)
    plans = [(name, ratio, keep_per_layer(spec, {name: scores[name]}, ratio, grain=grain))
             for name in scores for ratio in wanted]
    unpruned = _finite(evaluate(dict(tensors)), 'the network as it is')
    table: SensitivityTable = {name: {1.0: unpruned} for name in scores}
    progress(1, total)
    for done, (name, ratio, keep) in enumerate(plans, start=2):
        table[name][ratio] = _finite(
            evaluate(mask_channels(spec, tensors, keep)), f'{name} pruned to {ratio:g}')
        progress(done, total)
    return table


def _scored(spec: NetworkSpec, scores: GroupScores) -> dict[str, ChannelGroup]:
    """Return the groups that have scores, or raise if the scores do not fit."""
    groups = {group.name: group for group in channel_groups(spec)}
    for name, values in scores.items():
        if name not in groups:
            raise ConfigError(
                f'{spec.trunk} has no channel group {name!r} that can be pruned'
                f'{suggest(name, groups)}')
        if np.shape(values) != (groups[name].channels,) or not np.isfinite(values).all():
            raise ConfigError(
                f'scores of group {name!r} must be {groups[name].channels} finite numbers, got '
                f'shape {np.shape(values)}')
    if not scores:
        raise ConfigError('there are no scores, so nothing can be pruned; score some groups')
    return {name: groups[name] for name in scores}


def _search(
    spec: NetworkSpec, groups: Mapping[str, ChannelGroup], target: Target, grain: Grain,
    counts: Callable[[float], dict[str, float]], levels: NDArray[np.floating[Any]]
) -> dict[str, int]:
    """Return the counts of the first of the rising, ever stricter levels within the target."""
    def fitted(level: float) -> dict[str, int]:
        return {name: grain.fit(count, groups[name].channels)
                for name, count in counts(level).items()}

    full = target.cost(spec, groups)
    allowed = full * target.share
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if target.cost(resized(spec, fitted(float(levels[middle]))), groups) <= allowed:
            high = middle
        else:
            low = middle + 1
    result = fitted(float(levels[low]))
    reached = target.cost(resized(spec, result), groups)
    if reached > allowed:
        raise ConfigError(
            f'pruning cannot get below {reached / full:.3f} of the network, {target.share:.3f} '
            'is wanted; lower "minimum" and "multiple_of", score more groups, or ask for less')
    return result


def _best(scores: GroupScores, counts: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Return the channels of highest score of each group, rising; ties go to the first."""
    return {name: np.sort(np.argsort(-np.asarray(scores[name], np.float64), kind='stable')[:count])
            for name, count in counts.items()}


def _curve(
    row: Mapping[float, float], best: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rising losses and the share kept at each; noise never makes less pruning worse."""
    shares = sorted(row, reverse=True)
    losses = np.maximum.accumulate([best - row[share] for share in shares])
    # Of equal losses only the smallest share counts.
    last = np.append(np.diff(losses) > 0, True)
    return losses[last], np.array(shares, np.float64)[last]


def _finite(value: float, what: str) -> float:
    """Return a measured value, or raise if it is none."""
    if not math.isfinite(value):
        raise ConfigError(f'the evaluation of {what} returned {value}; a finite number is needed')
    return value
