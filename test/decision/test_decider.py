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

"""Walks through known and unknown places: what is accepted, what is withheld and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from made_walks import accepted
from made_walks import decide
from made_walks import DIMENSION
from made_walks import map_of
from made_walks import new_decider
from made_walks import SECOND
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.decision.decider import PlaceDecider
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Decision
from vpr_compressed.records import Status

WORLD = World()
#: Noise with which an image alone is often taken for another place.
HARD = 1.4
WALKS: dict[str, Iterable[float]] = {
    'as mapped': range(10, 110), 'backwards': range(110, 10, -1), 'every 2nd': range(5, 115, 2),
    'every 3rd': range(5, 115, 3), 'every 4th': range(5, 115, 4),
    'half speed': np.arange(10.0, 60.0, 0.5), 'quarter speed': np.arange(10.0, 50.0, 0.25)}


@pytest.fixture(scope='module')
def known() -> PlaceMap:
    """Return a map of the whole road: place p is keyframe p + 1."""
    return map_of(WORLD.at(range(WORLD.places)))


def errors(decisions: list[Decision], positions: Iterable[float]) -> list[float | None]:
    """Return how far each accepted keyframe is from the truth, in places; None if withheld."""
    return [None if number is None else abs(number - 1 - position)
            for number, position in zip(accepted(decisions), positions)]


@pytest.mark.parametrize('light', [0.0, 1.5])
@pytest.mark.parametrize('name', WALKS)
def test_a_known_walk_is_accepted_from_early_on(
    known: PlaceMap, name: str, light: float
) -> None:
    """At any speed and in both directions, by day and under another light."""
    decisions = decide(known, WORLD.at(WALKS[name], visit=1, light=light))
    found = errors(decisions, WALKS[name])
    right = [error for error in found if error is not None]
    assert len(right) >= 0.9 * len(found)
    assert max(right) <= 2.0
    assert any(error is not None for error in found[:max(5, len(found) // 8)])
    assert np.median([d.confidence for d in decisions]) > 0.99
    assert {d.basis for d in decisions} == {'walk'}


@pytest.mark.parametrize('name', WALKS)
def test_a_walk_finds_what_single_images_do_not(known: PlaceMap, name: str) -> None:
    """Each image is mistaken often, the walk hardly ever."""
    positions = list(WALKS[name])
    rows = WORLD.at(positions, visit=2, noise=2.5)
    decisions = decide(known, rows)
    alone = [abs(known.search(row, 1)[0].keyframe.keyframe_id - 1 - position) <= 2.0
             for row, position in zip(rows, positions)]
    found = [d.keyframe is not None and abs(d.keyframe.keyframe_id - 1 - position) <= 2.0
             for d, position in zip(decisions, positions)]
    assert np.mean(found[10:]) > 0.9 > np.mean(alone) + 0.05
    assert sum(d.accepted for d in decisions) > 0 or name == 'quarter speed'
    assert all(error is None or error <= 2.0 for error in errors(decisions, positions))


def test_an_accepted_decision_says_what_it_rests_on(known: PlaceMap) -> None:
    """Place, cosine, probability, threshold, and a sentence with the numbers."""
    rows = WORLD.at(range(30, 40), visit=1)
    last = decide(known, rows)[-1]
    assert (last.status, last.keyframe) == (Status.ACCEPTED, known.keyframes_of([40])[40])
    assert last.similarity == pytest.approx(float(known.descriptors([40])[0] @ rows[-1]))
    assert 1.0 >= last.confidence >= last.threshold > 0.5
    assert set(DecisionCalibration().walk.evidence) <= set(last.evidence)
    assert last.reason.startswith('place 40 accepted, confidence 1.00 after 10 views')


def test_candidates_are_the_most_similar_ones_and_share_the_confidence(known: PlaceMap) -> None:
    """The believed place gets all of it, others their part of the belief; never more."""
    decider = new_decider(known)
    for second, row in enumerate(WORLD.at(range(30, 40), visit=1)):
        answer = decider.update(row, stamp_ns=second * SECOND, top_k=7)
        assert len(answer.candidates) == len(answer.confidences) == 7
        assert all(0.0 <= c <= answer.decision.confidence for c in answer.confidences)
    shares = dict(zip((c.keyframe.keyframe_id for c in answer.candidates), answer.confidences))
    assert shares[40] == pytest.approx(answer.decision.confidence)
    assert all(share < 0.01 for number, share in shares.items() if abs(number - 40) > 8)


def test_standing_adds_nothing(known: PlaceMap) -> None:
    """The confidence of one view stays what it was, however often it is shown."""
    for views in (1, 2, 3, 6):
        rows = WORLD.at(range(20, 20 + views), visit=3, noise=HARD)
        decisions = decide(known, np.concatenate([rows, np.repeat(rows[-1:], 30, axis=0)]))
        new, *again = [d.confidence for d in decisions[views - 1:]]
        assert max(again) <= new + 1e-9
        assert again == [again[0]] * 30
        assert {d.keyframe for d in decisions[views:]} == {decisions[-1].keyframe}


def test_the_same_image_between_others_changes_nothing(known: PlaceMap) -> None:
    """A camera that repeats frames, or a bag with two messages of one stamp."""
    rows = WORLD.at(range(20, 40), visit=3, noise=HARD)
    once = decide(known, rows)
    twice = decide(known, np.repeat(rows, 2, axis=0))[::2]
    assert [d.keyframe for d in twice] == [d.keyframe for d in once]
    assert [d.confidence for d in twice] == pytest.approx(
        [d.confidence for d in once], abs=1e-6)
    decider = new_decider(known)
    first = decider.update(rows[0], stamp_ns=5, top_k=5).decision
    second = decider.update(rows[0], stamp_ns=5, top_k=5).decision
    assert second.confidence <= first.confidence


def test_a_stop_on_the_way_is_no_harm(known: PlaceMap) -> None:
    """Thirty images of one view, slightly noisy; the place stays, and so does the way on."""
    positions = [*range(10, 30), *[30] * 30, *range(31, 60)]
    rows = WORLD.at(positions, visit=1)
    rows[20:50] = rows[20] + 0.01 * np.random.default_rng(0).standard_normal((30, DIMENSION))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    decisions = decide(known, rows)
    assert all(error is not None and error <= 2.0 for error in errors(decisions, positions)[2:])
    assert decisions[49].confidence <= decisions[20].confidence + 1e-3
    assert decisions[49].reason.endswith('after 21 views')


def test_a_robot_that_has_hardly_moved_is_asked_to(known: PlaceMap) -> None:
    """Standing after too few views is a reason of its own; a long walk is not told so."""
    strict = DecisionConfig(min_precision=0.999)
    statuses = set()
    for seed in range(12):
        rows = WORLD.at([30.0, 31.0], visit=20 + seed, noise=HARD)
        decisions = decide(
            new_decider(known, strict), np.concatenate([rows, np.repeat(rows[-1:], 4, axis=0)]))
        assert all(d.status is not Status.STANDING for d in decisions[:4])
        if decisions[-1].status is Status.STANDING:
            assert decisions[-1].reason.startswith('not enough movement yet: place ')
            assert 'after 2 views' in decisions[-1].reason
        statuses.add(decisions[-1].status)
    assert Status.STANDING in statuses
    rows = WORLD.at(range(20, 40), visit=3, noise=2.2)
    stop = decide(new_decider(known, strict), np.concatenate([rows, np.repeat(rows[-1:], 9, 0)]))
    assert all(d.status is not Status.STANDING for d in stop)


def test_a_kidnapped_robot_is_found_again(known: PlaceMap) -> None:
    """At most the first image after it is taken for the way on; then the new place is said."""
    for seed, noise in ((1, 0.35), (2, 0.35), (3, HARD), (4, HARD)):
        positions = [*range(10, 40), *range(80, 110)]
        decisions = decide(known, WORLD.at(positions, visit=seed, noise=noise))
        found = errors(decisions, positions)
        assert all(error is None or error <= 2.0 for error in found[:30] + found[31:])
        assert sum(error is not None for error in found[38:]) >= 18


def test_one_overwhelming_image_is_enough(known: PlaceMap) -> None:
    """An image as it was mapped names its place at once, from nothing and after a teleport."""
    as_mapped = WORLD.at(range(WORLD.places))
    assert accepted(decide(known, as_mapped[80:81])) == [81]
    rows = World(dimension=512).at(range(WORLD.places), noise=0.05)
    place_map = map_of(rows)
    walked = decide(place_map, np.concatenate([rows[10:14], rows[80:81], rows[40:41]]))
    assert accepted(walked)[-2:] == [81, 41]


def test_a_pause_forgets_only_when_it_is_longer_than_the_memory(known: PlaceMap) -> None:
    """Half a minute by default, to the nanosecond; what is forgotten has to be earned again."""
    rows = WORLD.at(range(10, 41), visit=1, noise=HARD)
    fresh = decide(known, rows[-1:])[0]
    for config, memory_ns in (
            (DecisionConfig(), 30 * SECOND), (DecisionConfig(memory_s=2.5), 5 * SECOND // 2)):
        for pause_ns, forgotten in ((memory_ns, False), (memory_ns + 1, True)):
            decider = new_decider(known, config)
            decide(decider, rows[:-1])
            last = decide(decider, rows[-1:], start_ns=29 * SECOND + pause_ns)[0]
            assert (last == fresh) == forgotten
            assert (last.evidence['views'] == 0.0) == forgotten


def test_reset_forgets_everything(known: PlaceMap) -> None:
    """Afterwards a walk is decided as by a new decider, to the last bit."""
    decider = new_decider(known)
    decide(decider, WORLD.at(range(90, 50, -1), visit=4))
    decider.reset()
    rows = WORLD.at(range(10, 40), visit=1, noise=HARD)
    assert decide(decider, rows) == decide(known, rows)
    decide(decider, rows[::-1])  # ends with the view that the next walk begins with
    decider.reset()
    assert decide(decider, rows) == decide(known, rows)


@pytest.mark.parametrize('noise', [0.35, HARD])
def test_unknown_places_are_not_accepted(known: PlaceMap, noise: float) -> None:
    """A walk elsewhere comes nearest to something, and is said to be unknown."""
    for seed in range(2, 6):
        decisions = decide(known, World(seed).at(range(80), visit=seed, noise=noise))
        assert sum(d.accepted for d in decisions) <= 1
        unknown = [d for d in decisions if d.status is Status.UNKNOWN]
        assert len(unknown) >= 50
        for decision in unknown:
            assert decision.keyframe is not None
            assert decision.confidence < 0.5
            assert decision.reason.startswith(
                'nothing known looks like this: place '
                f'{decision.keyframe.keyframe_id} comes nearest')


def test_leaving_the_map_is_noticed(known: PlaceMap) -> None:
    """After a few views, and so is coming back."""
    rows = np.concatenate([
        WORLD.at(range(80, 110), visit=1), World(2).at(range(30), visit=1),
        WORLD.at(range(40, 60), visit=1)])
    numbers = accepted(decide(known, rows))
    assert [n is not None for n in numbers[2:30]] == [True] * 28
    assert numbers[34:60] == [None] * 26
    assert numbers[63:] == list(range(44, 61))


@pytest.mark.parametrize('places', [7, 8, 10, 12, 16, 20])
def test_a_small_map_is_used_and_no_trap(places: int) -> None:
    """A dozen keyframes are enough to be recognised, and few to be mistaken for."""
    right = wrong = 0
    for seed in range(6):
        world = World(10 + seed)
        place_map = map_of(world.at(range(places)))
        found = errors(decide(place_map, world.at(range(places), visit=1)), range(places))
        right += sum(error is not None for error in found)
        assert all(error is None or error <= 2.0 for error in found)
        wrong += sum(d.accepted for d in decide(
            place_map, World(50 + seed).at(range(40), visit=1)))
    assert right >= 0.5 * 6 * places
    assert wrong <= 0.02 * 6 * 40


@pytest.mark.parametrize('places', [1, 2, 3, 5])
def test_a_tiny_map_answers(places: int) -> None:
    """With its nearest place, the words of a status, and no trust in strangers."""
    place_map = map_of(WORLD.at(range(places)))
    for decision in decide(place_map, WORLD.at(range(places), visit=1)):
        assert decision.keyframe is not None
        assert 1 <= decision.keyframe.keyframe_id <= places
        assert 0.0 <= decision.confidence <= 1.0
    assert accepted(decide(place_map, World(2).at(range(30), visit=1))) == [None] * 30


def test_an_empty_map_says_so() -> None:
    """Without a keyframe or candidates; the first keyframe ends it."""
    place_map = map_of()
    decider = new_decider(place_map)
    rows = WORLD.at(range(10))
    for second in range(3):
        answer = decider.update(rows[second], stamp_ns=second, top_k=5)
        assert (answer.candidates, answer.confidences) == ([], [])
        decision = answer.decision
        assert (decision.status, decision.keyframe) == (Status.EMPTY_MAP, None)
        assert (decision.confidence, decision.basis) == (0.0, '')
        assert np.isnan(decision.similarity)
        assert decision.reason == 'nothing in the map to compare with'
    place_map.add(rows[0], stamp_ns=0)
    assert decider.update(rows[0], stamp_ns=3, top_k=5).decision.keyframe is not None


def test_twins_are_named_both() -> None:
    """Two corridors that look the same, apart by their poses: both places are in the words."""
    world = World()
    world.copy_stretch(10, 70, 40)
    place_map = map_of(world.at(range(120)), positions=[range(120)])
    decisions = decide(place_map, world.at(range(15, 45), visit=1))
    alike = [d for d in decisions if d.status is Status.LOOK_ALIKE]
    assert len(alike) >= 20
    assert sum(d.accepted for d in decisions) <= 1
    for decision in alike:
        assert decision.keyframe is not None
        words = decision.reason.partition(': ')
        assert words[0] == 'two places look alike'
        first, second = (int(n) for n in words[2].split(',')[0][len('place '):].split(' and '))
        assert first == decision.keyframe.keyframe_id
        assert (first <= 60) != (second <= 60) or abs(first - second) > 4
    assert sum('and' in d.reason for d in alike) == len(alike)


@pytest.mark.parametrize('share', [0.6, 0.8])
def test_places_that_only_resemble_each_other_are_told_apart(share: float) -> None:
    """What differs between them decides, over a walk."""
    world = World()
    world.copy_stretch(10, 70, 40, share=share)
    decisions = decide(map_of(world.at(range(120))), world.at(range(15, 45), visit=1))
    found = [error for error in errors(decisions, range(15, 45)) if error is not None]
    assert len(found) >= 20
    assert max(found) <= 2.0


def test_a_map_that_is_no_route_is_decided_image_by_image() -> None:
    """Found out from the map; an image has to be clear by itself, and order does not matter."""
    order = np.random.default_rng(3).permutation(WORLD.places)
    place_map = map_of(WORLD.at(order))
    walk = WORLD.at(range(10, 60), visit=1, noise=0.2)
    decisions = decide(place_map, walk)
    assert {d.basis for d in decisions} == {'single'}
    found = [int(order[n - 1]) - 10 - i for i, n in enumerate(accepted(decisions)) if n]
    assert len(found) >= 35
    assert {*found} <= {-1, 0, 1}
    assert decide(place_map, walk[::-1])[::-1] == decisions
    assert set(decisions[0].evidence) >= set(DecisionCalibration().single.evidence)
    for seed in range(2, 5):
        unknown = [d.status for d in decide(place_map, World(seed).at(range(40), visit=1))]
        assert set(unknown) <= {Status.UNKNOWN, Status.UNSURE}
        assert unknown.count(Status.UNKNOWN) >= 35


def test_metres_of_a_jumble_join_no_places() -> None:
    """Neighbours in the file are anywhere; what is as near as they are is another place."""
    order = np.random.default_rng(3).permutation(WORLD.places)
    world = World()
    world.copy_stretch(10, 70, 40, share=0.8)
    walk = world.at(range(15, 45), visit=1, noise=0.8)
    made = map_of(world.at(order), positions=[order.astype(float)]), map_of(world.at(order))
    posed, bare = ([(d.basis, d.status, d.confidence) for d in decide(each, walk)]
                   for each in made)
    assert posed == bare
    assert Status.LOOK_ALIKE in {status for _, status, _ in posed}


def test_poses_say_whether_a_map_is_a_route() -> None:
    """Places in random order are none, however alike; a straight walk is one."""
    order = np.random.default_rng(3).permutation(WORLD.places)
    alike, apart = WORLD.at(range(120)), WORLD.at(order)
    for rows, positions, basis in (
            (alike, range(120), 'walk'), (alike, order.astype(float), 'single'),
            (apart, order.astype(float), 'single'), (apart, range(120), 'walk')):
        decision = decide(map_of(rows, positions=[positions]), rows[5:6])[0]
        assert decision.basis == basis


def test_poses_that_never_change_are_none() -> None:
    """A localisation that does not run makes no two places one, and no route of a jumble."""
    order = np.random.default_rng(3).permutation(WORLD.places)
    for rows in (WORLD.at(range(120)), WORLD.at(order)):
        with_poses, without = (
            [(each.basis, each.status, each.confidence) for each in decide(made, rows[20:40])]
            for made in (map_of(rows, positions=[np.zeros(120)]), map_of(rows)))
        assert with_poses == without


def test_more_wanted_precision_accepts_fewer_places(known: PlaceMap) -> None:
    """The threshold is the curve's, and what is accepted is what reaches it."""
    rows = WORLD.at(range(5, 115), visit=6, noise=3.0)
    curve, before = DecisionCalibration().walk, set(range(len(rows)))
    counts = []
    for precision in (0.5, 0.9, 0.99, 0.999):
        decisions = decide(new_decider(known, DecisionConfig(min_precision=precision)), rows)
        assert {d.threshold for d in decisions} == {curve.threshold(precision)}
        assert all(d.accepted == (d.confidence >= d.threshold) for d in decisions)
        now = {i for i, d in enumerate(decisions) if d.accepted}
        assert now <= before
        before = now
        counts.append(len(now))
    assert counts[0] > counts[2] > counts[3]


def test_exactly_the_threshold_is_enough(known: PlaceMap) -> None:
    """A confidence that equals it is accepted; the next larger threshold is not reached."""
    row = WORLD.at([50.0], visit=1)[0]
    seen = decide(known, row[np.newaxis])[0].confidence
    base = DecisionCalibration()
    for threshold, enough in ((seen, True), (np.nextafter(seen, 1.0), False)):
        curve = replace(base.walk, precisions=(0.99,), thresholds=(threshold,))
        decider = PlaceDecider(known, replace(base, walk=curve))
        assert decider.update(row, stamp_ns=0, top_k=1).decision.accepted == enough


@pytest.mark.parametrize('values', [
    {'min_precision': 0.49}, {'min_precision': 1.0}, {'memory_s': 0.0}, {'memory_s': -1.0},
    {'memory_s': float('nan')}])
def test_settings_without_sense_are_refused(values: dict[str, float]) -> None:
    """Nobody can promise to be always right, and a memory has a length."""
    with pytest.raises(ConfigError, match=next(iter(values))):
        DecisionConfig(**values)


def test_a_walk_is_decided_the_same_again_and_from_a_file(tmp_path: Path) -> None:
    """Bit by bit: in memory, in a file, and in the file opened again."""
    rows = WORLD.at(range(60))
    walk = WORLD.at(range(10, 50), visit=1, noise=HARD)
    first = decide(map_of(rows), walk)
    with map_of(rows, path=tmp_path / 'map') as place_map:
        assert decide(place_map, walk) == first
    with PlaceMap.open(tmp_path / 'map') as place_map:
        assert decide(place_map, walk) == first
        assert decide(place_map, walk) == first
    with PlaceMap.open(tmp_path / 'map', read_only=False) as place_map:
        place_map.remove([1, 2, 30])
        edited = decide(place_map, walk)
    with PlaceMap.open(tmp_path / 'map') as place_map:
        assert decide(place_map, walk) == edited != first


def test_a_calibration_for_unknown_evidence_is_refused(known: PlaceMap) -> None:
    """A model of another version would give wrong probabilities, or none."""
    default = DecisionCalibration()
    strange = replace(default.walk, evidence=('colour', *default.walk.evidence[1:]))
    with pytest.raises(ModelFileError, match=r"evidence \['colour'\].*calibrate"):
        PlaceDecider(known, replace(default, walk=strange))
