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
The one entry of the decision: search the map, weigh what was found, say what is believed.

Three ways, chosen by what map and query are: a filter over the walk where the map is a sequence
of images, single images where it is none, and nothing where there is nothing to compare with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vpr_compressed.decision.belief import Belief
from vpr_compressed.decision.belief import BeliefFilter
from vpr_compressed.decision.belief import named_place
from vpr_compressed.decision.belief import RADIUS
from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.decision.evidence import correlation
from vpr_compressed.decision.evidence import Evidence
from vpr_compressed.decision.evidence import FloatArray
from vpr_compressed.decision.evidence import Look
from vpr_compressed.decision.evidence import WALK
from vpr_compressed.decision.likeness import Likeness
from vpr_compressed.decision.likeness import Likenesses
from vpr_compressed.decision.map_view import MapView
from vpr_compressed.decision.motion import Motion
from vpr_compressed.decision.words import NOTHING
from vpr_compressed.decision.words import reason
from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Candidate
from vpr_compressed.records import Decision
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Pose
from vpr_compressed.records import Status

_NS_PER_S = 1_000_000_000
#: Nodes of the belief whose own likeness is looked at though the search did not find them.
_WATCHED = 16
#: Names of the evidence of one image alone.
SINGLE = ('margin', 'correlation', 'gain')
#: A single image that correlates less with a place does not look like it, nor like its double.
_RESEMBLES = 0.5
#: A place this likely is not called unknown, however little the belief has followed yet.
_LIKELY = 0.5


class Answer(NamedTuple):
    """Candidates, best first, the probability of each, and the decision."""

    candidates: list[Candidate]
    confidences: list[float]
    decision: Decision


class _Finding(NamedTuple):
    """
    The named place and what speaks for it.

    :param rival: row of the place most easily taken for it
    :param why: why it is withheld, should it be
    :param masses: node -> probability of its place
    """

    row: int
    node: int
    rival: int | None
    evidence: dict[str, float]
    curve: ConfidenceCurve
    why: Status
    masses: dict[int, float]


class PlaceDecider:
    """
    Decide over a walk which place of a map an image shows; one thread uses it.

    :param place_map: is searched, and may grow or be edited meanwhile
    :param calibration: of the model that makes the descriptors
    :raises ModelFileError: when it is made of evidence that another version gathers
    """

    def __init__(
        self, place_map: PlaceMap, calibration: DecisionCalibration,
        config: DecisionConfig | None = None
    ) -> None:
        for curve, known in ((calibration.walk, WALK), (calibration.single, SINGLE)):
            if strange := set(curve.evidence) - set(known):
                raise ModelFileError(
                    f'the model was calibrated for evidence {sorted(strange)}, this version knows '
                    f'{", ".join(known)}; run "vpr_compressed calibrate", or update '
                    'vpr_compressed')
        self._view = MapView(place_map)
        self._calibration = calibration
        self._config = config or DecisionConfig()
        self._filter = BeliefFilter(self._view)
        self._likenesses = Likenesses(self._view)
        self._evidence = Evidence()
        self._motion = Motion()
        self._stamp_ns: int | None = None
        self._version = -1
        #: Number of the keyframe named last.
        self._named: int | None = None

    def reset(self) -> None:
        """Forget earlier images."""
        self._filter.reset()
        self._likenesses.reset()
        self._evidence.reset()
        self._motion.reset()
        self._stamp_ns = self._named = None

    def update(
        self, descriptor: DescriptorArray, *, stamp_ns: int, top_k: int,
        odometry: Pose | None = None, exclude_since_ns: int | None = None
    ) -> Answer:
        """
        Take one image.

        :param descriptor: float32, ``(D,)``, unit norm
        :param stamp_ns: image time in nanoseconds, not before the last one
        :param top_k: candidates wanted
        :param odometry: where the robot was, in a frame that does not jump; drives the
            prediction where it is known
        :param exclude_since_ns: keyframes of the current session stamped at or after it are no
            answer
        :raises MapFileError: when the map cannot be read
        """
        memory_ns = self._config.memory_s * _NS_PER_S
        if self._stamp_ns is not None and stamp_ns - self._stamp_ns > memory_ns:
            self.reset()
        self._stamp_ns = stamp_ns
        view = self._view
        view.refresh(exclude_since_ns)
        if not len(view):
            return Answer([], [], NOTHING)
        if view.version != self._version:
            self._renumber()
        offset = 0.0 if exclude_since_ns is None else self._calibration.exploring_logit
        if not view.is_sequence:
            self._likenesses.reset()
            seen = self._likenesses.of(descriptor, likely=np.zeros(0, np.int64))
            return self._alone(descriptor, seen, top_k, offset)
        return self._over_the_walk(descriptor, odometry, top_k, offset)

    def _over_the_walk(
        self, descriptor: DescriptorArray, odometry: Pose | None, top_k: int, offset: float
    ) -> Answer:
        """Decide by the images so far."""
        view, likenesses = self._view, self._likenesses
        spacing = view.spacing if self._named is None else view.spacing_at(
            int(view.rows_of(np.array([self._named]))[0]))
        step = self._motion.step(descriptor, odometry, spacing, view.even_m)
        likenesses.take(descriptor, step.change, keep=step.keep)
        seen = likenesses.of(descriptor, likely=self._filter.likely(_WATCHED))
        belief = self._filter.update(seen.nodes, seen.z, step)
        node, mass = named_place(belief, seen.nodes, seen.z)
        row = seen.best_row(node)
        rivals = likenesses.rivals(seen, row, node)
        for other in rivals.linked_nodes:
            self._filter.link(belief, node, other)
        if rivals.linked_nodes:
            mass = _mass_of(belief, [node, *rivals.linked_nodes])
        named = int(view.ids(np.array([row]))[0])
        linked = self._goes_on(named, node, rivals.keyframe)
        evidence = self._evidence.add(
            Look(node=node, mass=mass, margin=rivals.margin, gain=rivals.gain, query=descriptor,
                 keyframe=rivals.keyframe),
            change=step.change, steps=spacing.per_step / spacing.stride, keep=step.keep,
            mean=view.mean, linked=linked)
        if step.keep:
            self._filter.keep(belief)
            self._motion.keep()
            self._named = named
        places = belief.places()
        why = _why(belief, mass, rivals.margin, node, places, step.standing, self._evidence.views)
        return self._answer(descriptor, seen, top_k, offset, _Finding(
            row, node, rivals.row, evidence, self._calibration.walk, why,
            dict(zip(belief.nodes.tolist(), places.tolist()))))

    def _alone(
        self, descriptor: DescriptorArray, seen: Likeness, top_k: int, offset: float
    ) -> Answer:
        """Decide by this image alone."""
        node = int(seen.nodes[int(np.argmax(seen.z))])
        row = seen.best_row(node)
        rivals = self._likenesses.rivals(seen, row, node)
        evidence = dict(zip(SINGLE, (rivals.margin, rivals.correlation, rivals.gain)))
        alike = rivals.gain < 0.0 and rivals.correlation >= _RESEMBLES
        why = Status.LOOK_ALIKE if alike else Status.UNKNOWN
        return self._answer(descriptor, seen, top_k, offset, _Finding(
            row, node, rivals.row, evidence, self._calibration.single, why, {node: 1.0}))

    def _answer(
        self, descriptor: DescriptorArray, seen: Likeness, top_k: int, offset: float,
        found: _Finding
    ) -> Answer:
        """Look up what people and programs want to know of the places."""
        view, curve = self._view, found.curve
        confidence = curve.confidence(found.evidence, offset)
        threshold = curve.threshold(self._config.min_precision)
        rows = seen.rows[:top_k]
        wanted = np.append(rows, [found.row] + ([] if found.rival is None else [found.rival]))
        keyframes = view.keyframes(wanted)
        cosines = dict(zip(
            wanted.tolist(), np.clip(view.descriptors(wanted) @ descriptor, -1.0, 1.0).tolist()))
        kept = [row for row in rows.tolist() if row in keyframes]
        own = max(found.masses.get(found.node, 0.0), 1e-12)
        shares = [min(found.masses.get(place, 0.0) / own, 1.0)
                  for place in view.nodes(np.array(kept, np.int64)).tolist()]
        candidates = [Candidate(keyframes[row], cosines[row]) for row in kept]
        confidences = [confidence * share for share in shares]
        best = keyframes.get(found.row)
        if best is None:  # another process has just removed it
            return Answer(candidates, confidences, NOTHING)
        alone = curve is self._calibration.single
        status = Status.ACCEPTED if confidence >= threshold else found.why
        if status is Status.UNKNOWN and confidence >= _LIKELY:
            status = Status.UNSURE
        return Answer(candidates, confidences, Decision(
            status=status, keyframe=best, similarity=cosines[found.row], confidence=confidence,
            threshold=threshold, evidence=found.evidence,
            basis='single' if alone else 'walk',
            reason=reason(
                status, best, None if found.rival is None else keyframes.get(found.rival),
                confidence=confidence, threshold=threshold,
                views=None if alone else self._evidence.views)))

    def _goes_on(self, named: int, node: int, keyframe: DescriptorArray) -> bool:
        """Return whether the place named before is this one in another session."""
        if self._named is None or named == self._named or self._evidence.follows(node):
            return False
        last = self._view.rows_of(np.array([self._named]))
        if last[0] < 0:
            return False
        mean = self._view.mean
        before = self._view.descriptors(last)[0]
        return correlation(before - mean, keyframe - mean) >= self._view.link_correlation

    def _renumber(self) -> None:
        """Carry on where the last image was, after the map was edited or measured again."""
        self._version = self._view.version
        last = None
        if self._named is not None:
            row = self._view.rows_of(np.array([self._named]))
            last = int(self._view.nodes(row)[0]) if row[0] >= 0 else None
        self._evidence.renumber(last)


def _mass_of(belief: Belief, nodes: list[int]) -> float:
    """Return the probability of several places together."""
    near = np.zeros(len(belief.nodes), np.bool_)
    for node in nodes:
        near |= np.abs(belief.nodes - node) <= RADIUS
    return float(belief.mass[:, near].sum())


def _why(
    belief: Belief, mass: float, margin: float, node: int, places: FloatArray, standing: bool,
    views: int
) -> Status:
    """Return why a place is withheld, should it be."""
    other = places[np.abs(belief.nodes - node) > 2 * RADIUS].max(initial=0.0)
    if belief.off >= 0.5:
        return Status.UNKNOWN
    if other >= 0.3 * mass or margin < 0.0:
        return Status.LOOK_ALIKE
    if standing and views < 8:
        return Status.STANDING
    return Status.UNSURE
