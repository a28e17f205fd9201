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

"""Agreement over time as tables of input and output."""

from __future__ import annotations

import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.consistency import ConsistencyConfig
from vpr_compressed.consistency import ConsistencyFilter
from vpr_compressed.errors import ConfigError
from vpr_compressed.records import Candidate
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose

SECOND = 1_000_000_000
CONFIG = ConsistencyConfig(
    window=4, min_votes=3, min_similarity=0.5, radius_m=2.0, max_speed_mps=1.0,
    neighbour_keyframes=2, max_gap_ns=3 * SECOND)


def place(
    number: int, similarity: float = 0.8, *, x_m: float | None = None, session: int = 1,
    frame_id: str = 'map'
) -> Candidate:
    """Return a candidate, with a pose where ``x_m`` is given."""
    pose = None if x_m is None else Pose(position_m=(x_m, 0.0, 0.0), frame_id=frame_id)
    return Candidate(
        Keyframe(keyframe_id=number, session=session, stamp_ns=0, pose=pose), similarity)


def run(
    frames: list[list[Candidate]], config: ConsistencyConfig = CONFIG, step_ns: int = SECOND
) -> list[int | None]:
    """Return the accepted keyframe of each frame, None where nothing is known."""
    consistency = ConsistencyFilter(config)
    answers = [consistency.update(i * step_ns, frame) for i, frame in enumerate(frames)]
    return [a and a.candidate.keyframe.keyframe_id for a in answers]


@pytest.mark.parametrize(('name', 'ids', 'expected'), [
    ('standing still', [7, 7, 7, 7], [None, None, 7, 7]),
    ('driving forward', [7, 8, 10, 11], [None, None, 10, 11]),
    ('driving backward', [20, 18, 17, 15], [None, None, 17, 15]),
    ('turning round', [7, 9, 9, 8], [None, None, 9, 8]),
    ('jumping about', [7, 30, 55, 90], [None, None, None, None]),
    ('one wrong frame between', [7, 60, 8, 9], [None, None, None, 9]),
    ('a new place', [7, 7, 7, 50, 50, 50], [None, None, 7, None, None, 50]),
    ('too fast', [1, 10, 19, 28], [None, None, None, None]),
])
def test_order_in_the_map_decides_without_poses(
    name: str, ids: list[int], expected: list[int | None]
) -> None:
    """Two keyframes a frame may be passed, in either direction."""
    assert run([[place(i)] for i in ids]) == expected


@pytest.mark.parametrize(('name', 'xs_m', 'accepted'), [
    ('standing still', [0, 0, 0], True),
    ('driving', [0, 2, 4], True),
    ('driving back', [4, 2, 0], True),
    ('at the limit of radius and speed', [0, 3, 4], True),
    ('beyond it', [0, 3.1, 6.2], False),
    ('far jump', [0, 100, 200], False),
])
def test_distance_decides_where_poses_are_known(
    name: str, xs_m: list[float], accepted: bool
) -> None:
    """Whatever the numbers: places far apart in time but near in space are one place."""
    frames = [[place(1000 * i, x_m=x)] for i, x in enumerate(xs_m)]
    assert (run(frames)[-1] is not None) == accepted


def test_keyframes_of_another_session_agree_only_by_pose() -> None:
    """Without poses, numbers of two runs say nothing about each other."""
    numbers = [(1, 1), (2, 2), (3, 1)]
    assert run([[place(i, session=s)] for i, s in numbers]) == [None, None, None]
    assert run([[place(i, session=s, x_m=0.1 * i)] for i, s in numbers])[-1] == 3


def test_poses_in_different_frames_are_not_compared() -> None:
    """Equal coordinates in another frame are another place."""
    frames = [[place(100 * i, x_m=0.0, frame_id=f'map{i}')] for i in range(3)]
    assert run(frames) == [None, None, None]


def test_any_candidate_of_a_past_frame_may_vote() -> None:
    """The right place need not have been the best of its frame."""
    frames = [[place(70, 0.9), place(7, 0.6)], [place(40, 0.9), place(8, 0.7)], [place(9, 0.8)]]
    assert run(frames) == [None, None, 9]


def test_the_agreed_place_wins_over_a_lone_better_candidate() -> None:
    """A twin that nobody saw before is not reported."""
    frames = [[place(7)], [place(8)], [place(80, 0.99), place(9, 0.6)]]
    assert run(frames) == [None, None, 9]


def test_of_agreeing_neighbours_the_most_similar_is_reported() -> None:
    """Position is as fine as the current frame allows."""
    consistency = ConsistencyFilter(CONFIG)
    for i in range(2):
        consistency.update(i, [place(7)])
    agreement = consistency.update(2, [place(9, 0.9), place(8, 0.85), place(7, 0.8)])
    assert agreement is not None
    assert agreement.candidate == place(9, 0.9)
    assert agreement.votes == 3
    assert agreement.mean_similarity == pytest.approx((0.9 + 0.8 + 0.8) / 3)


def test_of_a_place_the_keyframe_most_like_the_current_frame_is_reported() -> None:
    """Keyframe 7 has the better past, 8 is nearer to what the camera sees now."""
    frames = [[place(4, 0.9)], [place(5, 0.9), place(6, 0.6)], [place(8, 0.85), place(7, 0.8)]]
    assert run(frames) == [None, None, 8]


def test_a_frame_has_one_vote_for_a_place() -> None:
    """However many keyframes of the place it resembles."""
    seen = [place(7), place(8), place(9)]
    assert run([seen, seen, seen]) == [None, None, 7]


def test_candidates_below_the_similarity_do_not_vote() -> None:
    """An unknown place gives low similarities, and None, however steady they are."""
    assert run([[place(7, 0.49)]] * 6) == [None] * 6
    assert run([[place(7, 0.5)]] * 3) == [None, None, 7]


def test_frames_without_candidates_use_up_the_window() -> None:
    """Three votes within four frames are accepted, within five they are not."""
    seen, nothing = [place(7)], list[Candidate]()
    assert run([seen, nothing, seen, seen])[-1] == 7
    assert run([seen, nothing, nothing, seen, seen])[-1] is None


@pytest.mark.parametrize(('name', 'stamps_s', 'accepted'), [
    ('steady', [0, 1, 2], True),
    ('pause as long as allowed', [0, 1, 4], True),
    ('too long a pause', [0, 1, 4.1], False),
    ('time jumps back', [10, 11, 5], False),
    ('the same image three times', [1, 1, 1], False),
])
def test_time_decides_what_is_remembered(
    name: str, stamps_s: list[float], accepted: bool
) -> None:
    """A bag that starts again, or a camera that was covered, begins from nothing."""
    consistency = ConsistencyFilter(CONFIG)
    answers = [consistency.update(round(s * SECOND), [place(7)]) for s in stamps_s]
    assert (answers[-1] is not None) == accepted


def test_one_vote_is_enough_when_asked_for() -> None:
    """With a single vote every frame speaks for itself."""
    config = ConsistencyConfig(window=1, min_votes=1, min_similarity=0.5)
    assert run([[place(7)], [place(90)], [place(3, 0.2)]], config) == [7, 90, None]


def test_reset_forgets() -> None:
    """After a reset nothing is known again."""
    consistency = ConsistencyFilter(CONFIG)
    for i in range(3):
        agreement = consistency.update(i, [place(7)])
    assert agreement is not None
    consistency.reset()
    assert consistency.update(4, [place(7)]) is None


@pytest.mark.parametrize(('values', 'message'), [
    ({'min_votes': 6, 'window': 5}, 'min_votes'),
    ({'min_similarity': 1.5}, 'min_similarity'),
    ({'radius_m': -1.0}, 'radius_m'),
    ({'radius_m': float('nan')}, 'radius_m'),
    ({'max_gap_ns': 0}, 'max_gap_ns'),
    ({'min_vote': 2}, 'did you mean'),
])
def test_nonsense_is_refused(values: dict[str, object], message: str) -> None:
    """Whether a value is out of range or a name misspelt."""
    with pytest.raises(ConfigError, match=message):
        config_from_mapping(ConsistencyConfig, values)
