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
Whether a compressed model may be written: a verdict in words, with numbers and limits.

With labels, the model is compared with its parent on the same images. Without, with what the
parent would have answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vpr_compressed.config import option
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.agreement import TeacherAgreement
from vpr_compressed.offline.accuracy.validation import SetScores

#: Sums of floats miss a limit that they meet exactly by less than this.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class AcceptanceConfig:
    """How much worse than its parent a compressed model may be."""

    max_recall_drop: float = option(
        0.01, 'recall@1 that may be lost on average over the sets, as a share: 0.01 is a point',
        minimum=0.0, maximum=1.0)
    max_map_drop: float = option(
        0.01, 'mean average precision that may be lost on average over the sets, as a share',
        minimum=0.0, maximum=1.0)
    max_set_drop: float = option(
        0.03, 'recall@1 that may be lost on any one set, as a share', minimum=0.0, maximum=1.0)
    min_agreement: float = option(
        0.9, 'without labels: share of images for which parent and student must find the same '
        'most similar image', minimum=0.0, maximum=1.0)
    min_cosine: float = option(
        0.9, 'without labels: mean cosine between the descriptors of parent and student',
        minimum=-1.0, maximum=1.0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    Whether a model is accepted.

    :param reasons: why not: a sentence for every limit that is missed, with what was measured,
        the limit and the difference
    :param kept: a sentence for every limit that is kept
    """

    accepted: bool
    reasons: tuple[str, ...]
    kept: tuple[str, ...] = ()


def judge(
    parent: Mapping[str, SetScores], student: Mapping[str, SetScores], config: AcceptanceConfig
) -> Verdict:
    """
    Judge a model by labelled sets.

    :param parent: the parent's own scores, name of the set -> scores
    :param student: scores of the compressed model on the same sets
    :raises VprError: if there are no sets, or not the same for both
    """
    if not parent or set(parent) != set(student):
        raise VprError(
            f'the parent was measured on {sorted(parent)}, the compressed model on '
            f'{sorted(student)}; both need the same sets, at least one')
    recall = {name: (parent[name].recall[1], student[name].recall[1]) for name in parent}
    average = {name: (parent[name].mean_average_precision,
                      student[name].mean_average_precision) for name in parent}
    sets = f'on average over {len(parent)} sets' if len(parent) > 1 else f'on {next(iter(parent))}'
    checks = [
        _drop('recall@1', sets, np.mean(list(recall.values()), axis=0), config.max_recall_drop),
        _drop('mean average precision', sets, np.mean(list(average.values()), axis=0),
              config.max_map_drop)]
    worst = max(recall, key=lambda name: recall[name][0] - recall[name][1])
    checks.append(_drop('recall@1', f'on {worst}, the set that lost most' if len(parent) > 1 else
                        f'on {worst}, as a single set', recall[worst], config.max_set_drop))
    return _verdict(checks)


def judge_agreement(agreement: TeacherAgreement, config: AcceptanceConfig) -> Verdict:
    """
    Judge a model by how far it agrees with its parent, without labels.

    The cosine counts only if parent and student have descriptors of one size.

    :param agreement: on a stretch that was not trained on
    """
    checks = [_floor(
        f'{agreement.within.queries} images of the held-out stretch find the same most similar '
        'image', agreement.within.top1, config.min_agreement)]
    if agreement.against is not None:
        checks.append(_floor(
            f'{agreement.against.queries} images find the same most similar image of the '
            'reference part', agreement.against.top1, config.min_agreement))
    if agreement.mean_cosine is not None:
        missed = config.min_cosine - agreement.mean_cosine
        checks.append((missed <= _ROUNDING, (
            f'the mean cosine between the descriptors of parent and compressed model is '
            f'{agreement.mean_cosine:.4f}; at least {config.min_cosine:.4f} is needed'
            + _by(missed, f'{missed:.4f}'))))
    return _verdict(checks)


def _drop(
    what: str, where: str, shares: Iterable[float], limit: float
) -> tuple[bool, str]:
    """
    Return whether a loss is within its limit, and say so; shares are said in per cent.

    :param shares: of parent and student
    """
    before, after = shares
    lost, missed = before - after, before - after - limit
    change = f'fell by {100 * lost:.2f} points' if lost > 0 else (
        f'rose by {-100 * lost:.2f} points' if lost < 0 else 'did not change')
    return missed <= _ROUNDING, (
        f'{what} {change} {where} ({100 * before:.2f} % to {100 * after:.2f} %); at most '
        f'{100 * limit:.2f} points may be lost' + _by(missed, f'{100 * missed:.2f} points'))


def _floor(what: str, value: float, limit: float) -> tuple[bool, str]:
    """Return whether a share reaches its limit, and say so."""
    missed = limit - value
    return missed <= _ROUNDING, (
        f'{100 * value:.2f} % of {what} as the parent; at least {100 * limit:.2f} % is needed'
        + _by(missed, f'{100 * missed:.2f} points'))


def _by(missed: float, text: str) -> str:
    """Return the end of a sentence about a limit."""
    return f', missed by {text}.' if missed > _ROUNDING else '.'


def _verdict(checks: list[tuple[bool, str]]) -> Verdict:
    """Return the verdict of several checks: all must be kept."""
    reasons = tuple(text[0].upper() + text[1:] for good, text in checks if not good)
    kept = tuple(text[0].upper() + text[1:] for good, text in checks if good)
    return Verdict(accepted=not reasons, reasons=reasons, kept=kept)
