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

"""The filter by itself: probabilities, movement, and what does not move."""

from __future__ import annotations

from dataclasses import replace

from made_walks import accepted
from made_walks import decide
from made_walks import map_of
from made_walks import new_decider
from made_walks import SECOND
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.decision import belief as belief_module
from vpr_compressed.decision.belief import Belief
from vpr_compressed.decision.belief import BeliefFilter
from vpr_compressed.decision.belief import named_place
from vpr_compressed.decision.belief import RADIUS
from vpr_compressed.decision.belief import SPEEDS
from vpr_compressed.decision.map_view import MapView
from vpr_compressed.decision.motion import Step

WORLD = World(places=60)
STEP = Step(change=1.0, steps=1.0, keep=True, from_odometry=False, standing=False)
NONE = np.zeros(0, np.int64)


def view_of(*lengths: int) -> MapView:
    """Return a view of a map with sessions of some lengths along one road."""
    starts = np.cumsum([0, *lengths])
    view = MapView(map_of(*(
        WORLD.at(range(start, start + length)) for start, length in zip(starts, lengths))))
    view.refresh(None)
    assert view.node_count == sum(lengths)
    return view


def at(view: MapView, node: int, speed: float) -> Belief:
    """Return the certainty of being at a node with a speed."""
    nodes = view.all_nodes()
    mass = np.zeros((len(SPEEDS), len(nodes)))
    mass[int(np.flatnonzero(speed == SPEEDS)[0]), int(np.searchsorted(nodes, node))] = 1.0
    return Belief(nodes, mass, 0.0, 0.0)


def moved(view: MapView, node: int, speed: float, step: Step = STEP) -> Belief:
    """Return the belief after a step in which no image speaks for or against any node."""
    belief_filter = BeliefFilter(view)
    belief_filter.keep(at(view, node, speed))
    nodes = view.all_nodes()
    return belief_filter.update(nodes, np.full(len(nodes), belief_module._ZERO), step)


def total(belief: Belief) -> float:
    """Return the sum of all probabilities."""
    return float(belief.mass.sum()) + belief.rest + belief.off


@pytest.mark.parametrize('speed', [-4.0, -1.0, -0.5, 0.5, 1.0, 3.0, 4.0])
def test_belief_moves_by_its_speed(speed: float) -> None:
    """Most of it; little turns round, and little leaves the map."""
    belief = moved(view_of(41), 20, speed)
    single = belief.mass.sum(axis=0)
    mean = float(single @ belief.nodes / single.sum())
    assert mean == pytest.approx(20.0 + speed, abs=0.35)
    assert np.sign(SPEEDS) @ belief.mass.sum(axis=1) * np.sign(speed) > 0.7
    assert belief.off == pytest.approx(0.02)
    assert total(belief) == pytest.approx(1.0)


def test_a_step_may_be_a_node_shorter_or_longer() -> None:
    """As keyframes are not evenly spaced; by the same share to either side."""
    belief = moved(view_of(41), 20, 1.0)
    single = belief.mass[int(np.flatnonzero(SPEEDS == 1.0)[0])]
    short, right, long = single[np.searchsorted(belief.nodes, [20, 21, 22])]
    assert right > 2.0 * short > 0.1
    assert short == pytest.approx(long, rel=0.05)


def test_belief_spreads_with_the_change_of_view_only() -> None:
    """A step of half a change goes half as far; none goes nowhere and weighs nothing."""
    view = view_of(41)
    half = moved(view, 20, 1.0, replace(STEP, change=0.5, steps=0.5))
    assert half.off == pytest.approx(0.01)
    single = half.mass.sum(axis=0)
    assert float(single @ half.nodes / single.sum()) == pytest.approx(20.5, abs=0.2)
    start = at(view, 20, 1.0)
    belief_filter = BeliefFilter(view)
    belief_filter.keep(start)
    nodes = view.all_nodes()
    z = np.where(nodes == 7, 9.0, 0.0)
    still = belief_filter.update(nodes, z, replace(STEP, change=0.0, steps=0.0, keep=False))
    assert still.mass.sum(axis=0) == pytest.approx(start.mass.sum(axis=0))
    assert still.off == 0.0


@pytest.mark.parametrize(('node', 'speed'), [(9, 1.0), (9, 4.0), (11, -1.0), (11, -4.0)])
def test_nothing_moves_from_one_session_into_the_next(node: int, speed: float) -> None:
    """What runs off the end has left the map; nodes of the other session stay empty."""
    view = view_of(10, 10)
    assert view.all_nodes().tolist() == [*range(10), *range(11, 21)]
    belief = moved(view, node, speed)
    other = (belief.nodes > 10) != (node > 10)
    assert belief.mass[:, other].sum() == 0.0
    assert belief.off > 0.7
    assert total(belief) == pytest.approx(1.0)


def test_an_image_kept_is_the_start_of_the_next_and_one_not_kept_is_not() -> None:
    """Otherwise a robot that stands would become surer and surer."""
    view = view_of(30)
    nodes = view.all_nodes()
    z = np.where(np.abs(nodes - 12) <= 1, 3.0, 0.0)
    belief_filter = BeliefFilter(view)
    first = belief_filter.update(nodes, z, STEP)
    assert np.array_equal(belief_filter.update(nodes, z, STEP).mass, first.mass)
    belief_filter.keep(first)
    second = belief_filter.update(nodes, z, STEP)
    assert second.places()[12] > first.places()[12]
    belief_filter.reset()
    assert np.array_equal(belief_filter.update(nodes, z, STEP).mass, first.mass)


def test_a_place_is_a_node_with_its_neighbours() -> None:
    """Of its session only: sessions are not next to each other."""
    mass = np.zeros((len(SPEEDS), 6))
    mass[0] = [0.1, 0.2, 0.3, 0.05, 0.15, 0.1]
    nodes = np.array([3, 4, 5, 9, 10, 20])
    places = Belief(nodes, mass, 0.05, 0.05).places()
    assert RADIUS == 2
    assert places == pytest.approx([0.6, 0.6, 0.6, 0.2, 0.2, 0.1])


def test_linked_places_exchange_belief_and_lose_none() -> None:
    """A tenth of each passes to the other."""
    view = view_of(10, 10)
    belief = at(view, 4, 1.0)
    BeliefFilter.link(belief, 4, 15)
    single = dict(zip(belief.nodes.tolist(), belief.mass.sum(axis=0)))
    assert (single[4], single[15]) == pytest.approx((0.9, 0.1))
    BeliefFilter.link(belief, 4, 15)
    assert total(belief) == pytest.approx(1.0)


def test_the_place_named_is_the_likely_one_unless_an_image_overwhelms() -> None:
    """A good likeness elsewhere does not beat a belief, a striking one does."""
    view = view_of(40)
    belief = moved(view, 20, 1.0)
    nodes = view.all_nodes()
    for striking, named in ((3.5, 21), (9.0, 5)):
        z = np.where(nodes == 5, striking, np.where(nodes == 21, 1.4, 0.0))
        node, mass = named_place(belief, nodes, z)
        assert abs(node - named) <= RADIUS
        assert mass == pytest.approx(belief.places()[named], abs=0.2)


@pytest.mark.parametrize(('clear', 'named'), [(0.9, 21), (1.2, 22)])
def test_an_image_that_clearly_shows_a_keyframe_of_the_place_names_it(
    clear: float, named: int
) -> None:
    """Else it is the middle of the belief, which noise in one image hardly moves."""
    view = view_of(40)
    nodes = view.all_nodes()
    z = np.where(nodes == 22, 2.0 + clear, np.where(np.abs(nodes - 21) <= RADIUS, 2.0, 0.0))
    assert named_place(moved(view, 20, 1.0), nodes, z)[0] == named


@pytest.mark.parametrize('seed', range(12))
def test_probabilities_stay_probabilities(seed: int) -> None:
    """Whatever is seen, wherever: finite, not negative, together one."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 15, size=int(rng.integers(1, 5))).tolist()
    view = view_of(*lengths)
    belief_filter = BeliefFilter(view)
    every = view.all_nodes()
    for _ in range(25):
        nodes = np.sort(rng.permutation(every)[:int(rng.integers(1, len(every) + 1))])
        step = Step(
            change=float(rng.random()), steps=float(8 * rng.random() ** 3), keep=True,
            from_odometry=bool(rng.random() < 0.5), standing=False)
        z = 30.0 * rng.standard_normal(len(nodes))
        belief = belief_filter.update(nodes, z, step)
        assert np.isfinite(belief.mass).all()
        assert min(belief.mass.min(), belief.rest, belief.off) >= 0.0
        assert total(belief) == pytest.approx(1.0)
        assert belief.places().max() <= 1.0 + 1e-9
        node, mass = named_place(belief, nodes, z)
        assert node in every
        assert 0.0 <= mass <= 1.0 + 1e-9
        if rng.random() < 0.7:
            belief_filter.keep(belief)


@pytest.mark.parametrize('whole', [0, 512])
@pytest.mark.parametrize('seed', range(6))
def test_decisions_are_numbers_on_maps_of_every_kind(
    monkeypatch: pytest.MonkeyPatch, seed: int, whole: int
) -> None:
    """Random maps and walks, growing and edited, looked at whole or in part."""
    monkeypatch.setattr(belief_module, '_WHOLE', whole)
    rng = np.random.default_rng([seed, 99])
    road = World(seed, places=80)
    place_map = map_of(*(
        road.at(np.sort(80 * rng.random(int(rng.integers(1, 40)))), visit=visit)
        for visit in range(int(rng.integers(1, 4)))))
    decider = new_decider(place_map)
    position = 40.0
    for second in range(60):
        position = float(np.clip(position + 2.0 * rng.standard_normal(), 0.0, 79.0))
        row = road.at([position], visit=100 + second, noise=float(rng.random() * 3.0))[0]
        if rng.random() < 0.1:
            place_map.remove(rng.integers(1, 60, size=4).tolist())
        if rng.random() < 0.3:
            place_map.add(row, stamp_ns=second * SECOND)
        answer = decider.update(
            row, stamp_ns=second * SECOND, top_k=5,
            exclude_since_ns=(second - 10) * SECOND if seed % 2 else None)
        decision = answer.decision
        kept = decider._filter._belief
        if kept is not None:
            assert total(kept) == pytest.approx(1.0)
            assert np.isfinite(kept.mass).all()
        assert 0.0 <= decision.confidence <= 1.0
        assert all(np.isfinite(value) for value in decision.evidence.values())
        assert np.isfinite(decision.similarity) == (decision.keyframe is not None)
        assert all(0.0 <= c <= 1.0 for c in answer.confidences)
        assert (decision.status.value == 1) == (decision.confidence >= decision.threshold)


def test_a_belief_follows_nodes_that_get_other_numbers() -> None:
    """Removing keyframes before a place renumbers it; the belief is where it was."""
    place_map = map_of(WORLD.at(range(60)))
    decider = new_decider(place_map)
    decide(decider, WORLD.at(range(20, 40), visit=1))
    place_map.remove(range(1, 11))
    decide(decider, WORLD.at([40], visit=1), start_ns=20 * SECOND)
    kept = decider._filter._belief
    assert kept is not None
    assert kept.places()[30] > 0.9


def test_a_map_may_be_edited_twice_while_the_robot_stands() -> None:
    """An image that does not count takes the new numbers, too."""
    place_map = map_of(WORLD.at(range(60)))
    decider = new_decider(place_map)
    rows = WORLD.at(range(20, 40), visit=1)
    decide(decider, rows)
    for i in range(6):
        place_map.remove(range(1 + 3 * i, 4 + 3 * i))
        stand = decide(decider, rows[-1:], start_ns=(20 + i) * SECOND)[0]
        assert accepted([stand]) == [40]
    on = decide(decider, WORLD.at(range(40, 50), visit=1), start_ns=30 * SECOND)
    assert accepted(on) == list(range(41, 51))
