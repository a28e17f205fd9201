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

"""What is gathered of a place over the images: means, travel, views, and what ends a track."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vpr_compressed.decision.evidence import correlation
from vpr_compressed.decision.evidence import Evidence
from vpr_compressed.decision.evidence import Look

SIZE = 32
MEAN = np.zeros(SIZE, np.float32)
LOOKS = np.random.default_rng(0).standard_normal((200, SIZE)).astype(np.float32)
LOOKS /= np.linalg.norm(LOOKS, axis=1, keepdims=True)


def look(
    node: int, *, mass: float = 0.9, margin: float = 1.0, gain: float = 0.5, like: float = 1.0
) -> Look:
    """Return what an image says that looks like its place to a degree."""
    query = like * LOOKS[node] + math.sqrt(1.0 - like ** 2) * LOOKS[199 - node]
    return Look(node=node, mass=mass, margin=margin, gain=gain, query=query,
                keyframe=LOOKS[node])


def added(
    evidence: Evidence, one: Look, *, change: float = 1.0, steps: float = 1.0, keep: bool = True,
    linked: bool = False
) -> dict[str, float]:
    """Return the pieces after one image."""
    return evidence.add(
        one, change=change, steps=steps, keep=keep, mean=MEAN, linked=linked)


def test_a_first_image_speaks_for_itself() -> None:
    """Its own margin and gain, no views before it, no way travelled, no drop."""
    pieces = added(Evidence(), look(5, margin=1.5, gain=0.4))
    assert pieces['mean_margin'] == pytest.approx(1.5)
    assert pieces['mean_gain'] == pytest.approx(0.4)
    assert (pieces['views'], pieces['travel'], pieces['progress'], pieces['drop']) == (0,) * 4
    assert pieces['belief'] == 1.0


@pytest.mark.parametrize(('mass', 'belief'), [
    (0.5, 0.0), (0.1, math.log(0.1 / 0.9)), (1.0, 1.0), (0.0, -8.0)])
def test_belief_is_a_bounded_logit(mass: float, belief: float) -> None:
    """Beyond three to one, more certainty of the filter is no more evidence."""
    assert added(Evidence(), look(5, mass=mass))['belief'] == pytest.approx(belief)


def test_views_are_counted_and_travel_is_along_the_map() -> None:
    """One view a node is full travel, one view in one place is none."""
    walking, waiting = Evidence(), Evidence()
    for i in range(8):
        going = added(walking, look(20 + i))
        staying = added(waiting, look(20))
        assert going['views'] == staying['views'] == pytest.approx(math.log1p(i))
    assert (going['travel'], staying['travel']) == (pytest.approx(1.0), 0.0)
    assert going['progress'] == pytest.approx(going['views'])
    assert staying['progress'] == 0.0
    assert (walking.views, waiting.views) == (8, 8)
    back = Evidence()
    for i in range(8):
        pieces = added(back, look(40 - i))
    assert pieces['travel'] == pytest.approx(1.0)


def test_means_follow_the_images_slowly() -> None:
    """Margins are bounded, so one image can neither make nor break a track."""
    evidence = Evidence()
    for i in range(10):
        steady = added(evidence, look(20 + i, margin=2.0, gain=0.5))
    assert steady['mean_margin'] == pytest.approx(2.0)
    assert steady['mean_gain'] == pytest.approx(0.5)
    for margin, bound in ((99.0, 4.0), (-99.0, -2.0)):
        pieces = added(evidence, look(30, margin=margin), keep=False)
        assert pieces['mean_margin'] == pytest.approx(
            added(evidence, look(30, margin=bound), keep=False)['mean_margin'])
    pieces = added(evidence, look(30, margin=0.0, gain=-0.5))
    assert 1.5 < pieces['mean_margin'] < 2.0
    assert 0.2 < pieces['mean_gain'] < 0.5


def test_an_image_that_does_not_count_leaves_no_trace() -> None:
    """And is itself worth what the last one was."""
    evidence, other = Evidence(), Evidence()
    for i in range(5):
        last = added(evidence, look(20 + i))
        added(other, look(20 + i))
    for _ in range(20):
        pieces = added(other, look(24), change=0.0, keep=False)
        assert pieces['views'] == last['views']
        assert pieces['mean_margin'] == pytest.approx(last['mean_margin'])
    assert added(other, look(25)) == added(evidence, look(25))


def test_a_jump_begins_anew_unless_the_place_is_linked() -> None:
    """Ten nodes are still one track: a fast robot or a doubtful keyframe."""
    for jump, linked, views in ((10, False, 6), (11, False, 0), (60, False, 0), (60, True, 6)):
        evidence = Evidence()
        for i in range(6):
            added(evidence, look(20 + i))
        assert evidence.follows(25 + jump) == (jump <= 10)
        pieces = added(evidence, look(25 + jump), linked=linked)
        assert pieces['views'] == pytest.approx(math.log1p(views))


def test_a_walk_that_matched_better_before_has_dropped() -> None:
    """It may have left the map for something that resembles it; a new track remembers it too."""
    evidence = Evidence()
    for i in range(10):
        good = added(evidence, look(20 + i))
    assert good['drop'] == pytest.approx(0.0, abs=0.01)
    drops = [added(evidence, look(30 + i, like=0.3))['drop'] for i in range(12)]
    assert drops[-1] < -0.3
    assert drops[:6] == sorted(drops[:6], reverse=True)
    assert added(evidence, look(90, like=0.3))['drop'] < -0.3
    evidence.reset()
    assert added(evidence, look(90, like=0.3))['drop'] == 0.0


def test_renumbering_keeps_what_was_gathered() -> None:
    """The track goes on at the place's new number, or ends where it is gone."""
    for last, views in ((15, 6), (None, 0)):
        evidence = Evidence()
        for i in range(6):
            added(evidence, look(20 + i))
        evidence.renumber(last)
        pieces = added(evidence, look(16))
        assert pieces['views'] == pytest.approx(math.log1p(views))
        assert pieces['travel'] == 0.0
    Evidence().renumber(3)


def test_correlation_of_nothing_is_none() -> None:
    """Instead of a division by zero."""
    assert correlation(MEAN, LOOKS[0]) == 0.0
    assert correlation(2.0 * LOOKS[0], LOOKS[0]) == pytest.approx(1.0)
    assert correlation(LOOKS[0], -LOOKS[0]) == pytest.approx(-1.0)
