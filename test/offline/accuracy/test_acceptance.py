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

"""The verdict on a compressed model: limits, sentences, and nothing in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.acceptance import AcceptanceConfig
from vpr_compressed.offline.accuracy.acceptance import judge
from vpr_compressed.offline.accuracy.acceptance import judge_agreement
from vpr_compressed.offline.accuracy.agreement import RetrievalAgreement
from vpr_compressed.offline.accuracy.agreement import TeacherAgreement
from vpr_compressed.offline.accuracy.validation import SetScores

CONFIG = AcceptanceConfig()


def scores(recall: float, average: float) -> SetScores:
    """Return scores of which only two matter."""
    return SetScores(answerable=10, recall={1: recall, 5: 1.0}, precision={1: recall},
                     mean_average_precision=average)


PARENT = {'street': scores(0.80, 0.70), 'corridor': scores(0.60, 0.50)}


def test_losses_within_the_limits_are_accepted() -> None:
    """Exactly a point on average is allowed, though 0.80 - 0.79 is more than 0.01 in floats."""
    verdict = judge(PARENT, {'street': scores(0.79, 0.69), 'corridor': scores(0.59, 0.49)}, CONFIG)
    assert verdict.accepted
    assert verdict.reasons == ()
    assert verdict.kept == (
        'Recall@1 fell by 1.00 points on average over 2 sets (70.00 % to 69.00 %); at most '
        '1.00 points may be lost.',
        'Mean average precision fell by 1.00 points on average over 2 sets (60.00 % to 59.00 %); '
        'at most 1.00 points may be lost.', verdict.kept[2])
    assert 'the set that lost most' in verdict.kept[2]


def test_every_missed_limit_is_said_with_its_number() -> None:
    """Recall falls by 2.5 points on average, 5 of them on one set; precision rises."""
    verdict = judge(PARENT, {'street': scores(0.80, 0.72), 'corridor': scores(0.55, 0.52)}, CONFIG)
    assert not verdict.accepted
    assert verdict.reasons == (
        'Recall@1 fell by 2.50 points on average over 2 sets (70.00 % to 67.50 %); at most '
        '1.00 points may be lost, missed by 1.50 points.',
        'Recall@1 fell by 5.00 points on corridor, the set that lost most (60.00 % to 55.00 %); '
        'at most 3.00 points may be lost, missed by 2.00 points.')
    assert verdict.kept[0].startswith('Mean average precision rose by 2.00 points')


def test_a_gain_elsewhere_does_not_hide_a_collapse() -> None:
    """On average nothing is lost, but one set lost four points."""
    verdict = judge(PARENT, {'street': scores(0.84, 0.70), 'corridor': scores(0.56, 0.50)}, CONFIG)
    assert len(verdict.reasons) == 1
    assert 'corridor' in verdict.reasons[0]
    assert 'did not change' in verdict.kept[0] + verdict.kept[1]


def test_one_set_is_named() -> None:
    """An average over one set would sound silly."""
    parent = {'street': PARENT['street']}
    verdict = judge(parent, parent, CONFIG)
    assert verdict.accepted
    assert verdict.kept[0].startswith('Recall@1 did not change on street (80.00 %')


def test_other_sets_are_refused() -> None:
    """Numbers of different images cannot be compared."""
    with pytest.raises(VprError, match=r"\['corridor', 'street'\].*\['street'\]"):
        judge(PARENT, {'street': PARENT['street']}, CONFIG)
    with pytest.raises(VprError, match='at least one'):
        judge({}, {}, CONFIG)


def agreement(top1: float, cosine: float | None, against: float | None) -> TeacherAgreement:
    """Return an agreement without labels."""
    within = RetrievalAgreement(queries=50, top1=top1, neighbours=0.8, depth=10)
    return TeacherAgreement(
        mean_cosine=cosine, low_cosine=cosine, lowest_cosine=cosine, within=within,
        against=None if against is None else replace(within, top1=against))


def test_without_labels_the_agreement_decides() -> None:
    """Stretch, reference part and cosine have a limit each."""
    assert judge_agreement(agreement(0.9, 0.9, 0.9), CONFIG).accepted
    verdict = judge_agreement(agreement(0.88, 0.85, 0.96), CONFIG)
    assert not verdict.accepted
    assert verdict.reasons == (
        '88.00 % of 50 images of the held-out stretch find the same most similar image as the '
        'parent; at least 90.00 % is needed, missed by 2.00 points.',
        'The mean cosine between the descriptors of parent and compressed model is 0.8500; at '
        'least 0.9000 is needed, missed by 0.0500.')
    assert len(verdict.kept) == 1
    assert 'reference part' in verdict.kept[0]


def test_the_reference_part_alone_can_fail_a_model() -> None:
    """A good stretch is not enough."""
    verdict = judge_agreement(agreement(1.0, None, 0.5), CONFIG)
    assert len(verdict.reasons) == 1
    assert 'missed by 40.00 points' in verdict.reasons[0]


def test_limits_out_of_range_are_refused() -> None:
    """A drop of 1 means 100 points; nobody means 3 when writing 3."""
    with pytest.raises(ConfigError, match='max_set_drop is 3'):
        config_from_mapping(AcceptanceConfig, {'max_set_drop': 3.0})
    with pytest.raises(ConfigError, match="did you mean 'max_recall_drop'"):
        config_from_mapping(AcceptanceConfig, {'max_recal_drop': 0.1})
