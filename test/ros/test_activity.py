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

"""What the node says of its own answers, with answers written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_compressed.records import Decision
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Recognition
from vpr_compressed.records import Status
from vpr_compressed.ros.place_recognition import activity
from vpr_compressed.ros.place_recognition.activity import describe_answer
from vpr_compressed.ros.place_recognition.activity import MANY_IMAGES
from vpr_compressed.ros.place_recognition.activity import Statistics

#: What the remedy names.
FIT, TELL_APART = ('decision.min_precision', 'calibrate'), ('odometry_source',)
PLACE = Keyframe(keyframe_id=7, session=1, stamp_ns=5)


def recognition(status: Status | None, confidence: float = 0.5) -> Recognition:
    """Return what an image led to, None where the map was not searched."""
    decision = None if status is None else Decision(
        status=status, keyframe=PLACE, similarity=0.6, confidence=confidence,
        reason=f'{status.words}: place 7')
    return Recognition(stamp_ns=1, descriptor=np.zeros(4, np.float32), decision=decision)


def after(*answers: tuple[Status | None, int]) -> Statistics:
    """Return the statistics after so many images of each status."""
    statistics = Statistics()
    for status, count in answers:
        for _ in range(count):
            statistics.processed(recognition(status), 1.0)
    return statistics


@pytest.fixture
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let half a minute have passed."""
    monkeypatch.setattr(activity, 'LONG_S', 0.0)


def test_the_outcomes_share_the_images_that_were_looked_at() -> None:
    """Every status has a count; images that only became places are none of them."""
    found = after((None, 4), *((status, status) for status in Status if status)).matching()
    assert found['looked'] == 1 + 2 + 3 + 4 + 5 + 6
    assert [found[name] for name in (
        'accepted', 'unknown', 'look_alike', 'standing', 'unsure', 'empty_map')] == [
            1, 2, 3, 4, 5, 6]
    assert found['accept_rate'] == pytest.approx(1 / 21)


def test_rate_and_confidence_are_of_the_recent_images() -> None:
    """A robot that has found its way again is told so soon."""
    statistics = after((Status.UNSURE, 1000))
    for confidence in np.linspace(0.9, 1.0, 200):
        statistics.processed(recognition(Status.ACCEPTED, float(confidence)), 1.0)
    found = statistics.matching()
    assert (found['accept_rate'], found['confidence']) == (1.0, 1.0)
    assert found['confidence_p50'] == pytest.approx(0.95)
    assert found['unsure'] == 1000
    assert Statistics().matching()['accept_rate'] == Statistics().matching()['confidence'] == 0.0


@pytest.mark.usefixtures('long_ago')
@pytest.mark.parametrize(('answers', 'remedies'), [
    ([(Status.UNSURE, MANY_IMAGES)], FIT), ([(Status.LOOK_ALIKE, MANY_IMAGES)], TELL_APART),
    ([(Status.ACCEPTED, 9), (Status.UNSURE, 60), (Status.STANDING, 900), (Status.LOOK_ALIKE, 50)],
     FIT), ([(Status.UNSURE, 50), (Status.LOOK_ALIKE, 60)], TELL_APART),
    ([(Status.UNKNOWN, 90), (Status.UNSURE, MANY_IMAGES)], FIT)])
def test_a_robot_that_moves_and_never_knows_gets_a_warning_with_the_remedy(
    answers: list[tuple[Status, int]], remedies: tuple[str, ...]
) -> None:
    """The places look known, and none is ever accepted: a setting does not fit, or twins."""
    said = after(*answers).complaint()
    for remedy in (*FIT, *TELL_APART):
        assert (remedy in said) == (remedy in remedies), said
    count = sum(count for status, count in answers if status in (
        Status.UNSURE, Status.LOOK_ALIKE))
    assert f'no place accepted in {count} images' in said
    for status, number in answers:
        if status in (Status.UNSURE, Status.LOOK_ALIKE):
            assert f'{number} {status.words}' in said


@pytest.mark.usefixtures('long_ago')
@pytest.mark.parametrize('answers', [
    [], [(Status.UNSURE, MANY_IMAGES - 1)], [(Status.STANDING, 5000)], [(Status.UNKNOWN, 5000)],
    [(Status.EMPTY_MAP, 5000)], [(Status.UNSURE, 500), (Status.ACCEPTED, 1)],
    [(Status.UNKNOWN, 5000), (Status.UNSURE, 2 * MANY_IMAGES)]])
def test_what_is_no_fault_is_no_warning(answers: list[tuple[Status, int]]) -> None:
    """To stand, to be off the map, to be unsure for a moment, to have just been found."""
    assert after(*answers).complaint() == ''


def test_images_that_came_fast_are_no_reason_to_warn_yet() -> None:
    """A camera of 60 images a second takes two seconds for a hundred of them."""
    assert after((Status.UNSURE, 5 * MANY_IMAGES)).complaint() == ''


def test_to_be_off_the_map_for_long_is_said_to_be_no_fault() -> None:
    """Nobody should look for a broken camera; once back, the last answer is enough."""
    statistics = after((Status.ACCEPTED, 5), (Status.UNKNOWN, MANY_IMAGES))
    assert statistics.in_words() == (
        'off the map for 100 images, which is no fault: nothing known looks like this: place 7')
    statistics.processed(recognition(Status.ACCEPTED), 1.0)
    assert statistics.in_words() == 'place accepted: place 7'
    assert Statistics().in_words() == 'nothing looked at'


def test_an_image_that_was_not_searched_for_is_said_to_be_none() -> None:
    """As in mode mapping, where the debug image shows it too."""
    assert describe_answer(recognition(None)) == 'the map was not searched'
    assert describe_answer(recognition(Status.UNKNOWN)).startswith('nothing known looks like')
