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

"""Decisions on maps of every kind: dense, sparse, of several sessions, growing, edited, large."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from made_walks import accepted
from made_walks import decide
from made_walks import map_of
from made_walks import new_decider
from made_walks import pose_at
from made_walks import SECOND
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.decision import belief as belief_module
from vpr_compressed.decision.decider import Answer
from vpr_compressed.errors import MapFileError
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Decision
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Status

WORLD = World()
HARD = 1.4


def explore(
    rows: DescriptorArray, *, exclude_s: int = 30
) -> tuple[list[Decision], PlaceMap]:
    """Map and recognise at once, as ``slam`` does; image i becomes keyframe i + 1."""
    place_map = map_of()
    decider, decisions = new_decider(place_map), []
    for second, row in enumerate(rows):
        stamp_ns = second * SECOND
        decisions.append(decider.update(
            row, stamp_ns=stamp_ns, top_k=5,
            exclude_since_ns=stamp_ns - exclude_s * SECOND).decision)
        place_map.add(row, stamp_ns=stamp_ns)
    return decisions, place_map


@pytest.mark.parametrize('noise', [0.35, 1.0])
def test_a_map_of_ten_images_a_place_is_like_one_of_one(noise: float) -> None:
    """A parked robot that mapped, or 30 images a second: nodes of several keyframes."""
    place_map = map_of(WORLD.at(np.arange(20.0, 60.0, 0.1)))
    decisions = decide(place_map, WORLD.at(range(25, 55), visit=1, noise=noise))
    numbers = accepted(decisions)
    assert sum(n is not None for n in numbers) >= 27
    assert all(n is None or abs(20.0 + 0.1 * (n - 1) - p) <= 1.5
               for n, p in zip(numbers, range(25, 55)))
    assert sum(d.accepted for d in decide(place_map, World(2).at(range(60), visit=1))) <= 1


@pytest.mark.parametrize('every', [2, 3])
def test_a_sparse_map_names_the_nearest_place(every: int) -> None:
    """Though most images lie between two keyframes."""
    place_map = map_of(WORLD.at(range(0, 120, every)))
    numbers = accepted(decide(place_map, WORLD.at(range(10, 100), visit=1)))
    assert sum(n is not None for n in numbers) >= 80
    assert all(n is None or abs(every * (n - 1) - p) <= every
               for n, p in zip(numbers, range(10, 100)))


#: Without poses places are joined by likeness: where two views of a place are more alike than it
#: and the next one.
JOINED = {'by poses': 1.0, 'by likeness': 2.0}


@pytest.mark.parametrize('joined', JOINED)
def test_a_route_mapped_twice_is_no_pair_of_twins(joined: str) -> None:
    """Poses, or else likeness, say that both keyframes show one place; the belief is shared."""
    road = np.arange(0.0, 100.0, JOINED[joined])
    asked = road[6:-6]
    place_map = map_of(
        WORLD.at(road), WORLD.at(road, visit=5),
        positions=[road, road] if joined == 'by poses' else None)
    decisions = decide(place_map, WORLD.at(asked, visit=1))
    assert sum(d.accepted for d in decisions) >= len(asked) - 2
    assert all(d.status is not Status.LOOK_ALIKE for d in decisions)
    assert all(
        d.keyframe is not None
        and abs(road[(d.keyframe.keyframe_id - 1) % len(road)] - position) <= 2.5
        for d, position in zip(decisions, asked))
    assert {d.keyframe.session for d in decisions if d.keyframe} == {1, 2}
    assert {d.basis for d in decisions} == {'walk'}
    assert all(d.evidence['belief'] == 1.0 for d in decisions[3:])


@pytest.mark.parametrize('joined', JOINED)
def test_a_walk_goes_on_from_one_session_into_another(joined: str) -> None:
    """Where the sessions overlap the place goes over, and the walk stays accepted."""
    step = JOINED[joined]
    parts = [np.arange(0.0, 60.0, step), np.arange(45.0, 110.0, step)]
    place_map = map_of(
        WORLD.at(parts[0]), WORLD.at(parts[1], visit=5),
        positions=parts if joined == 'by poses' else None)
    asked, places = np.arange(20.0, 95.0, step), np.concatenate(parts)
    decisions = decide(place_map, WORLD.at(asked, visit=1))
    numbers = accepted(decisions)
    assert all(n is not None and abs(places[n - 1] - position) <= 2.5
               for n, position in zip(numbers, asked))
    assert {d.basis for d in decisions} == {'walk'}


def test_two_roads_in_one_map_do_not_disturb_each_other() -> None:
    """Sites of different spacing: each with its own steps, neither withheld for the other."""
    town, hall = World(3, places=80), World(4, places=80)
    place_map = map_of(town.at(range(80)), hall.at(np.arange(0.0, 79.0, 0.25)))
    for world, keyframe in (
            (town, lambda p: 1.0 + p), (hall, lambda p: 81.0 + 4.0 * p)):
        numbers = accepted(decide(place_map, world.at(range(10, 60), visit=1)))
        assert sum(n is not None for n in numbers) >= 48
        assert all(n is None or abs(n - keyframe(p)) <= 6.0
                   for n, p in zip(numbers, range(10, 60)))


def test_a_loop_is_closed_while_the_map_grows() -> None:
    """Nothing on the first lap, the second is followed to its end: growing forgets nothing."""
    lap = list(range(60))
    rows = np.concatenate([WORLD.at(lap, visit=1), WORLD.at(lap, visit=2)])
    decisions, _ = explore(rows)
    assert [d.status for d in decisions[:31]] == [Status.EMPTY_MAP] * 31
    assert not any(d.accepted for d in decisions[:60])
    found = accepted(decisions)[60:]
    assert all(n is not None and abs(n - 1 - p) <= 2 for n, p in list(zip(found, lap))[10:])
    views = [d.evidence['views'] for d in decisions[62:]]
    assert views == sorted(views)


def test_the_way_back_is_recognised_but_not_what_was_just_seen() -> None:
    """With a recent part left out, only what is older can be named."""
    positions = [*range(70), *range(69, 10, -1)]
    decisions, _ = explore(WORLD.at(positions, visit=1), exclude_s=20)
    for second, decision in enumerate(decisions):
        if decision.keyframe is not None:
            assert decision.keyframe.stamp_ns < (second - 20) * SECOND
    found = accepted(decisions)
    assert not any(found[:70])
    assert sum(n is not None for n in found[85:]) >= 40
    assert all(n is None or abs(n - 1 - p) <= 2 for n, p in zip(found[85:], positions[85:]))


def test_exploring_asks_for_more_than_coming_back() -> None:
    """The same evidence is worth less while most places are new."""
    place_map = map_of(WORLD.at(range(120)))
    walk = WORLD.at(range(10, 40), visit=1, noise=2.0)
    plain, exploring = new_decider(place_map), new_decider(place_map)
    for second, row in enumerate(walk):
        first = plain.update(row, stamp_ns=second * SECOND, top_k=5)
        # a time after all stamps: nothing is left out
        other = exploring.update(
            row, stamp_ns=second * SECOND, top_k=5, exclude_since_ns=10 ** 18)
        assert other.decision.evidence == first.decision.evidence
        assert other.decision.confidence < first.decision.confidence
        assert all(a <= b for a, b in zip(other.confidences, first.confidences))


REMOVED: dict[str, Iterable[int]] = {
    'before': range(1, 21), 'at': range(28, 34), 'behind': range(80, 121),
    'around': range(25, 121), 'every other': range(1, 121, 2), 'all but one': range(2, 121),
    'all but two': range(3, 121), 'all': range(1, 121), 'none that exists': range(500, 510)}


def walk_and(place_map: PlaceMap, change: object, when: int = 20) -> list[Answer]:
    """Walk from place 10 to 59 and change the map before one image."""
    decider, answers = new_decider(place_map), []
    for i, row in enumerate(WORLD.at(range(10, 60), visit=1)):
        if i == when:
            change()  # type: ignore[operator]
        answers.append(decider.update(row, stamp_ns=i * SECOND, top_k=5))
    return answers


@pytest.mark.parametrize('name', REMOVED)
def test_a_map_may_be_edited_under_the_walk(name: str) -> None:
    """What was removed is never named again, and what is left is found as before."""
    place_map, gone = map_of(WORLD.at(range(120))), set(REMOVED[name])
    answers = walk_and(place_map, lambda: place_map.remove(gone))
    for answer in answers[20:]:
        named = {c.keyframe.keyframe_id for c in answer.candidates}
        if answer.decision.keyframe is not None:
            named.add(answer.decision.keyframe.keyframe_id)
        assert not named & gone
    if name == 'all':
        assert {a.decision.status for a in answers[20:]} == {Status.EMPTY_MAP}
    if name in ('before', 'behind', 'every other', 'none that exists'):
        found = accepted([a.decision for a in answers])[20:]
        assert all(n is not None and abs(n - 1 - p) <= 2 for n, p in zip(found, range(30, 60)))
        assert all(a.decision.evidence['views'] >= np.log1p(20) for a in answers[20:])
    if name == 'at':
        found = accepted([a.decision for a in answers])
        assert all(n is not None for n in found[28:])
    if name in ('around', 'all but one', 'all but two'):
        assert not any(a.decision.accepted for a in answers[22:])


@pytest.mark.parametrize('when', [0, 20])
def test_another_process_may_edit_the_file_of_a_map(tmp_path: Path, when: int) -> None:
    """What it removes is not named; what is left is found as before, whenever that was."""
    path, gone = tmp_path / 'map', range(15, 41, 2)
    with map_of(WORLD.at(range(120)), path=path) as writing, PlaceMap.open(path) as read:
        answers = walk_and(read, lambda: writing.remove(gone), when)
    named = {a.decision.keyframe.keyframe_id for a in answers[when:] if a.decision.keyframe}
    assert not named & {*gone}
    found = accepted([a.decision for a in answers])
    assert all(n is None or abs(n - 1 - p) <= 2 for n, p in zip(found, range(10, 60)))
    assert None not in found[30:]


def test_a_map_that_cannot_be_read_for_a_while_costs_only_the_images_of_then(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is measured when it can be read again."""
    place_map = map_of(WORLD.at(range(120)))
    decider, rows = new_decider(place_map), WORLD.at(range(10, 40), visit=1)
    with monkeypatch.context() as patch:
        patch.setattr(PlaceMap, 'descriptors', lambda *_, **__: fail())
        for _ in range(2):
            with pytest.raises(MapFileError):
                decider.update(rows[0], stamp_ns=0, top_k=5)
    assert decide(decider, rows) == decide(new_decider(place_map), rows)


def fail() -> None:
    """Fail as a map that another process has locked."""
    raise MapFileError('locked')


def test_a_map_may_be_cleared_and_made_anew_under_the_walk() -> None:
    """Empty, then the same road again with new numbers, then a road elsewhere."""
    place_map = map_of(WORLD.at(range(120)))
    decider = new_decider(place_map)
    decide(decider, WORLD.at(range(10, 30), visit=1))
    place_map.clear()
    assert decide(decider, WORLD.at([30], visit=1), start_ns=20 * SECOND)[0].status is (
        Status.EMPTY_MAP)
    for row in WORLD.at(range(120)):
        place_map.add(row, stamp_ns=0)
    found = accepted(decide(decider, WORLD.at(range(31, 50), visit=1), start_ns=21 * SECOND))
    assert all(n is None or abs(n - 121 - p) <= 2 for n, p in zip(found, range(31, 50)))
    assert all(n is not None for n in found[5:])
    place_map.clear()
    for row in World(2).at(range(120)):
        place_map.add(row, stamp_ns=0)
    assert not any(d.accepted for d in decide(
        decider, WORLD.at(range(50, 70), visit=1), start_ns=40 * SECOND))


def test_a_large_map_is_decided_as_if_it_were_looked_at_whole(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the nodes near the belief and those that an image resembles are kept."""
    road = World(5, places=3000)
    place_map = map_of(road.at(range(3000)))
    walk = np.concatenate([
        road.at(range(1500, 1540), visit=1, noise=HARD), road.at(range(40, 60), visit=1),
        World(2).at(range(10), visit=1)])
    some = decide(place_map, walk)
    monkeypatch.setattr(belief_module, '_WHOLE', 10 ** 9)
    whole = decide(place_map, walk)
    assert [d.keyframe for d in some[:60]] == [d.keyframe for d in whole[:60]]
    assert [d.confidence for d in some] == pytest.approx(
        [d.confidence for d in whole], abs=0.02)
    assert sum(d.accepted for d in some[:60]) >= 30
    assert not any(d.accepted for d in some[63:])


def test_what_is_kept_of_a_large_map_is_bounded() -> None:
    """An image of a map of 3000 places is compared with a few hundred."""
    road = World(5, places=3000)
    decider = new_decider(map_of(road.at(range(3000))))
    sizes = []
    for second, row in enumerate(road.at(range(100, 140), visit=1, noise=2.0)):
        decider.update(row, stamp_ns=second * SECOND, top_k=5)
        kept = decider._filter._belief
        assert kept is not None
        sizes.append(len(kept.nodes))
        assert float(kept.mass.sum()) + kept.rest + kept.off == pytest.approx(1.0)
        assert np.all(np.diff(kept.nodes) > 0)
    assert max(sizes) < 1500


def test_poses_of_another_frame_join_nothing() -> None:
    """Numbers of a second map frame say nothing about the first: likeness decides there."""
    place_map, road = map_of(), np.arange(0.0, 100.0, 2.5)
    for frame_id, visit in (('map', 0), ('other', 5)):
        place_map.begin_session()
        for position, row in zip(road, WORLD.at(road, visit=visit)):
            away = 500.0 if visit else 0.0
            place_map.add(row, stamp_ns=0, pose=pose_at(position + away, frame_id))
    decisions = decide(place_map, WORLD.at(road[6:-6], visit=1))
    assert all(d.status is not Status.LOOK_ALIKE for d in decisions)
    assert sum(d.accepted for d in decisions) >= len(decisions) - 2
