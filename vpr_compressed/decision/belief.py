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
A Bayes filter over the places of a map: where the robot may be, and whether it is there at all.

State: node (a place of :class:`.map_view.MapView`) x speed along the map, "elsewhere in the map"
for the nodes not looked at, and "not in the map". Each image moves the belief on and weighs it by
how much the image resembles each node, relative to the map (a z-score). What counts is change of
view, not time: a robot that stands gathers no evidence.

Only nodes near the belief and those an image resembles are kept, so an image costs the same in a
map of a thousand places as in one of a million. Measurements: docs/decision.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_compressed.decision.evidence import FloatArray
from vpr_compressed.decision.map_view import MapView
from vpr_compressed.decision.motion import Step
from vpr_compressed.place_map.index_rows import IdArray

#: Speeds in nodes per node that the robot should have passed by its view change.
SPEEDS = np.array([-4.0, -3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 4.0])
#: The same where odometry says how far the robot went: only the direction is open.
KNOWN_SPEEDS = np.array([-1.3, -1.1, -1.0, -0.9, -0.7, 0.7, 0.9, 1.0, 1.1, 1.3])
#: Nodes to each side that count as one place.
RADIUS = 2
#: Share of the belief that, with every change of view, turns round or takes another speed, goes
#: one node less or more than it should (each), leaves the map, or enters it anywhere.
_TURN, _DIFFUSE, _LEAVE, _ENTER = 0.02, 0.2, 0.02, 0.05
#: Share that passes between two places which are linked (one place in two sessions).
_CROSS = 0.1
#: Log likelihood ratio of "here" to "not in the map": ``slope * (z - zero)`` within bounds,
#: taken in part because neighbouring images are alike.
_SLOPE, _ZERO, _LOWEST, _HIGHEST, _TRUST = 2.0, 1.3, -3.0, 5.0, 0.6
#: A place that an image resembles by so many deviations more than what is believed is named at
#: once, as is a node of the place that it clearly resembles more than the others; else likeness
#: counts so much beside belief.
_JUMP, _CLEAR, _OWN = 2.5, 1.0, 0.3
#: Maps up to so many nodes are looked at whole; else so many nodes are kept.
_WHOLE, _KEPT = 512, 128


@dataclass
class Belief:
    """
    Probabilities after an image.

    :param nodes: those looked at, rising, ``(A,)``
    :param mass: speed x node, ``(V, A)``
    :param rest: of all other nodes together
    :param off: of "not in the map"
    """

    nodes: IdArray
    mass: FloatArray
    rest: float
    off: float

    def places(self) -> FloatArray:
        """Return the probability of each node with its neighbours, ``(A,)``."""
        single = self.mass.sum(axis=0)
        total = np.concatenate([[0.0], np.cumsum(single)])
        low = np.searchsorted(self.nodes, self.nodes - RADIUS)
        high = np.searchsorted(self.nodes, self.nodes + RADIUS, side='right')
        return np.asarray(total[high] - total[low])


class BeliefFilter:
    """Moves a belief over a map from image to image."""

    def __init__(self, view: MapView) -> None:
        self._view = view
        self._belief: Belief | None = None
        self._version = -1
        #: Numbers of the keyframes that stand for the nodes of the belief.
        self._ids: IdArray = np.zeros(0, np.int64)

    def reset(self) -> None:
        """Believe nothing."""
        self._belief = None

    def update(self, nodes: IdArray, z: FloatArray, step: Step) -> Belief:
        """
        Return the belief after an image; :meth:`keep` makes it the one that the next starts from.

        :param nodes: nodes whose likeness is known, each once, ``(M,)``
        :param z: relative similarity of each
        :param step: from the last kept image to this one
        """
        count = max(self._view.node_count, 1)
        if self._belief is not None and self._version != self._view.version:
            self.keep(self._renumbered(self._belief))
        before = self._belief
        active = self._active(nodes[np.argsort(-z, kind='stable')], before)
        belief = self._spread(active, before, count)
        if before is not None:
            belief = _moved(belief, step, count)
        return _weighed(belief, nodes, z, step.change)

    def keep(self, belief: Belief) -> None:
        """Take a belief as the one that the next image starts from."""
        self._belief, self._version = belief, self._view.version
        self._ids = self._view.ids(self._view.rows_in(belief.nodes))

    @staticmethod
    def link(belief: Belief, one: int, other: int) -> None:
        """Let belief pass between two nodes that show one place."""
        at = np.searchsorted(belief.nodes, [one, other])
        flow = _CROSS * belief.mass[:, at]
        belief.mass[:, at] += flow[:, ::-1] - flow

    def likely(self, wanted: int) -> IdArray:
        """Return the nodes believed in most, at least those around them, for a closer look."""
        if self._belief is None or self._version != self._view.version:
            return np.zeros(0, np.int64)
        single = self._belief.mass.sum(axis=0)
        best = np.argsort(-single)[:wanted]
        return np.asarray(self._belief.nodes[best[single[best] > 1e-3]])

    def _renumbered(self, belief: Belief) -> Belief:
        """Return a belief after the nodes of the map got other numbers."""
        rows = self._view.rows_of(self._ids)
        found = rows >= 0
        if not found.any():
            return Belief(np.zeros(0, np.int64), np.zeros((len(SPEEDS), 0)), 0.0, 1.0)
        nodes = self._view.nodes(rows[found])
        merged = _distinct(nodes)
        columns = np.zeros((len(merged), len(SPEEDS)))
        np.add.at(columns, np.searchsorted(merged, nodes), belief.mass[:, found].T)
        mass = columns.T
        gone = float(belief.mass[:, ~found].sum())
        return Belief(merged, mass, belief.rest, belief.off + gone)

    def _active(self, nodes: IdArray, before: Belief | None) -> IdArray:
        """Return the nodes to look at now, rising; ``nodes`` are known, the most alike first."""
        view = self._view
        if view.node_count <= _WHOLE:
            return view.all_nodes()
        near = (nodes[:8, np.newaxis] + np.arange(-RADIUS, RADIUS + 1)).ravel()
        parts = [nodes, near]
        if before is not None and before.nodes.size:
            single = before.mass.sum(axis=0)
            best = np.argsort(-single)[:_KEPT]
            best = best[single[best] > 1e-5]
            reach = int(np.ceil(SPEEDS[-1])) + 1
            parts.append((before.nodes[best, np.newaxis] + np.arange(-reach, reach + 1)).ravel())
        found = _distinct(np.concatenate(parts))
        return found[view.exist(found)]

    def _spread(
        self, active: IdArray, before: Belief | None, count: int
    ) -> Belief:
        """Return an earlier belief on other nodes; new ones get their part of the rest."""
        speeds = len(SPEEDS)
        if before is None:
            share = 0.5 / count
            return Belief(
                active, np.full((speeds, len(active)), share / speeds),
                share * (count - len(active)), 0.5)
        if len(before.nodes) == len(active) and np.array_equal(before.nodes, active):
            return before
        mass = np.zeros((speeds, len(active)))
        at = np.minimum(np.searchsorted(active, before.nodes), len(active) - 1)
        kept = active[at] == before.nodes
        mass[:, at[kept]] = before.mass[:, kept]
        rest = before.rest + float(before.mass[:, ~kept].sum())
        new = np.ones(len(active), np.bool_)
        new[at[kept]] = False
        each = rest / max(count - int(kept.sum()), 1)
        mass[:, new] = each / speeds
        return Belief(active, mass, max(rest - each * int(new.sum()), 0.0), before.off)


def _moved(belief: Belief, step: Step, count: int) -> Belief:
    """
    Return a belief moved along the map; what runs off the end of a session leaves the map.

    :param count: nodes of the map
    """
    mass, speeds = belief.mass, KNOWN_SPEEDS if step.from_odometry else SPEEDS
    turned = (1.0 - _TURN) * mass + _TURN / len(speeds) * mass.sum(axis=0)
    moved = _shifted(
        belief.nodes, turned, speeds * step.steps, _DIFFUSE * min(step.steps, 1.0))
    gone = max(float(mass.sum() - moved.sum()), 0.0)
    leave, enter = _LEAVE * step.change, _ENTER * step.change
    inside, entering = float(moved.sum()) + belief.rest, enter * belief.off
    return Belief(
        belief.nodes, moved * (1.0 - leave) + entering / (count * len(speeds)),
        belief.rest * (1.0 - leave) + entering * (count - len(belief.nodes)) / count,
        belief.off - entering + leave * inside + gone)


def _weighed(belief: Belief, nodes: IdArray, z: FloatArray, change: float) -> Belief:
    """Return a belief weighed by likeness; nodes of unknown likeness have too little of it."""
    logs = np.full(len(belief.nodes), _LOWEST)
    logs[np.searchsorted(belief.nodes, nodes)] = np.clip(_SLOPE * (z - _ZERO), _LOWEST, _HIGHEST)
    mass = belief.mass * np.exp(_TRUST * change * logs)
    rest = belief.rest * float(np.exp(_TRUST * change * _LOWEST))
    total = float(mass.sum()) + rest + belief.off
    return Belief(belief.nodes, mass / total, rest / total, belief.off / total)


def named_place(belief: Belief, nodes: IdArray, z: FloatArray) -> tuple[int, float]:
    """
    Return the node to name and the probability of its place.

    A place that an image resembles overwhelmingly is named at once, even where the belief has
    not followed yet; inside the place it is the middle of the belief, weighed by likeness.

    :param nodes: nodes whose likeness is known, ``(M,)``
    :param z: relative similarity of each
    """
    places = belief.places()
    own = np.full(len(belief.nodes), -3.0)
    own[np.searchsorted(belief.nodes, nodes)] = z
    best, likest = int(np.argmax(places)), int(np.argmax(own))
    around = np.abs(belief.nodes - belief.nodes[best]) <= 2 * RADIUS
    if own[likest] - max(float(own[around].max()), _ZERO) > _JUMP:
        best = likest
    near = np.flatnonzero(np.abs(belief.nodes - belief.nodes[best]) <= RADIUS)
    second, first = np.sort(own[near])[-2:] if near.size > 1 else (-np.inf, own[near[0]])
    if first - second > _CLEAR:
        middle = int(np.argmax(own[near]))
    else:
        share = belief.mass[:, near].sum(axis=0) * np.exp(_OWN * (own[near] - first))
        middle = min(int(np.searchsorted(np.cumsum(share), share.sum() / 2.0)), near.size - 1)
    return int(belief.nodes[near[middle]]), float(places[best])


def _shifted(
    nodes: IdArray, mass: FloatArray, steps: FloatArray, diffuse: float
) -> FloatArray:
    """
    Return belief moved along the nodes, each row by its own, perhaps broken number of steps.

    :param nodes: rising, ``(A,)``; sessions are two numbers apart at least, and nothing moves
        from one to the next
    :param mass: ``(V, A)``
    :param diffuse: share that goes one node further, and as much that goes one less
    """
    speeds, size = mass.shape
    breaks = np.diff(nodes) > 1
    pad = int(np.ceil(np.abs(steps).max())) + 2
    cells = np.arange(size) + pad * (1 + np.concatenate([[0], np.cumsum(breaks)]))
    width = int(cells[-1]) + pad + 1
    grid = np.zeros((speeds, width))
    grid[:, cells] = mass
    whole = np.floor(steps).astype(np.int64)
    part = (steps - whole)[:, np.newaxis]
    source = cells - whole[:, np.newaxis]
    offset = np.arange(speeds)[:, np.newaxis] * width
    wide = (1.0 - 2.0 * diffuse) * grid
    wide[:, 1:] += diffuse * grid[:, :-1]
    wide[:, :-1] += diffuse * grid[:, 1:]
    flat = wide.ravel()
    return np.asarray((1.0 - part) * flat[source + offset] + part * flat[source - 1 + offset])


def _distinct(nodes: IdArray) -> IdArray:
    """Return numbers in order, each once; np.unique would import numpy.ma, 3 MB on a robot."""
    ordered = np.sort(nodes)
    return ordered[np.append(True, np.diff(ordered) > 0)] if ordered.size else ordered
