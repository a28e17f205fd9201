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

"""AgreedPlace over time: a place is reported only when enough recent frames saw it too."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
import math

from vpr_compressed.config import Bounded
from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError
from vpr_compressed.records import Candidate
from vpr_compressed.records import Keyframe

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig(Bounded):
    """How many recent frames must agree before a place is reported."""

    window: int = option(5, 'number of recent frames that may vote, the current one included',
                         minimum=1)
    min_votes: int = option(3, 'frames that must agree, the current one included', minimum=1)
    min_similarity: float = option(
        -1.0, 'similarity a candidate needs to vote; -1 takes the one of the recognizer',
        minimum=-1.0, maximum=1.0)
    radius_m: float = option(
        5.0, 'distance in metres at which two keyframes with poses are one place', minimum=0.0)
    max_speed_mps: float = option(
        2.0, 'speed in metres per second at which the place may move', minimum=0.0)
    neighbour_keyframes: int = option(
        3, 'keyframes per frame by which the place may move where the map has no poses',
        minimum=0)
    max_gap_ns: int = option(
        5 * NS_PER_S, 'pause in nanoseconds after which earlier frames are forgotten', minimum=1)

    def __post_init__(self) -> None:
        """Refuse a combination that could never accept anything."""
        super().__post_init__()
        if self.min_votes > self.window:
            raise ConfigError(
                f'min_votes must lie in [1, window], got {self.min_votes} of {self.window}')


@dataclass(frozen=True, kw_only=True)
class AgreedPlace:
    """
    A candidate of the current frame that enough frames agree on.

    :param candidate: the place, as the current frame saw it
    :param votes: frames that agree, the current one included
    :param mean_similarity: mean over the agreeing frames
    """

    candidate: Candidate
    votes: int
    mean_similarity: float


@dataclass(frozen=True)
class _Frame:
    """What one frame may vote for, best first."""

    stamp_ns: int
    candidates: tuple[Candidate, ...]


class ConsistencyFilter:
    """Report a place only when enough recent frames vote for it; no clock, no randomness."""

    def __init__(self, config: ConsistencyConfig | None = None) -> None:
        self._config = config or ConsistencyConfig()
        self._frames: deque[_Frame] = deque(maxlen=self._config.window)

    def reset(self) -> None:
        """Forget all earlier frames."""
        self._frames.clear()

    def update(self, stamp_ns: int, candidates: Sequence[Candidate]) -> AgreedPlace | None:
        """
        Take the candidates of one frame, best first.

        A jump back in time or a long pause forgets the past. The same stamp again replaces
        that frame: one image has one vote, however often it is sent.

        :param stamp_ns: image time in nanoseconds
        :param candidates: most similar places; those below ``min_similarity`` do not vote
        :returns: the agreed place, or None for "not known"
        """
        self._forget(stamp_ns)
        eligible = tuple(c for c in candidates if c.similarity >= self._config.min_similarity)
        self._frames.append(_Frame(stamp_ns, eligible))
        agreed = [a for a in map(self._count, eligible) if a.votes >= self._config.min_votes]
        if not agreed:
            return None
        winner = max(agreed, key=_strength)
        # Several keyframes of one place agree: report the one the current frame resembles most.
        place = [a for a in agreed
                 if self._near(a.candidate.keyframe, winner.candidate.keyframe, 0, 1)]
        return max(place, key=lambda a: (a.candidate.similarity, a.votes))

    def _forget(self, stamp_ns: int) -> None:
        """Drop frames that cannot vote together with one of this stamp."""
        if not self._frames:
            return
        gap_ns = stamp_ns - self._frames[-1].stamp_ns
        if gap_ns == 0:
            self._frames.pop()
        elif not 0 < gap_ns <= self._config.max_gap_ns:
            self._frames.clear()

    def _count(self, candidate: Candidate) -> AgreedPlace:
        """Return the votes of the window for one candidate of the newest frame."""
        newest = self._frames[-1]
        similarities = [candidate.similarity]
        for age in range(1, len(self._frames)):
            frame = self._frames[-1 - age]
            elapsed_ns = newest.stamp_ns - frame.stamp_ns
            similarities += [
                past.similarity for past in frame.candidates
                if self._near(candidate.keyframe, past.keyframe, elapsed_ns, age)][:1]
        return AgreedPlace(
            candidate=candidate, votes=len(similarities),
            mean_similarity=sum(similarities) / len(similarities))

    def _near(self, one: Keyframe, other: Keyframe, elapsed_ns: int, frames: int) -> bool:
        """Return whether a robot can see both keyframes this much time and frames apart."""
        if one.keyframe_id == other.keyframe_id:
            return True
        if one.pose and other.pose and one.pose.frame_id == other.pose.frame_id:
            reach_m = self._config.radius_m + self._config.max_speed_mps * elapsed_ns / NS_PER_S
            return math.dist(one.pose.position_m, other.pose.position_m) <= reach_m
        steps = abs(one.keyframe_id - other.keyframe_id)
        return one.session == other.session and steps <= self._config.neighbour_keyframes * frames


def _strength(agreement: AgreedPlace) -> tuple[int, float, float, int]:
    """Order agreements: votes first, then similarity, then the older keyframe."""
    return (agreement.votes, agreement.mean_similarity, agreement.candidate.similarity,
            -agreement.candidate.keyframe.keyframe_id)
