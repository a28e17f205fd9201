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
How a recorded walk is walked again: backwards, faster, slower, past gaps of the map, interrupted.

What is honest with images only: a faster robot leaves images out, its camera keeps its rate. A
slower one sees views that nobody took; here it stands at each image until it is time for the
next, so it moves in jerks. A reversed walk is a robot that drives backwards. Speed is that of the
walk after it was reversed; stamps never fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
import math

from vpr_compressed.config import Bounded
from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError

#: Cold starts are counted at so many images at least, and at so many places of the walk.
_FEWEST, _STARTS = 10, 10
#: A whole number that was missed by rounding is met.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Shown:
    """
    One image of a replay.

    :param index: of the image in its recording
    :param stamp_ns: when it is shown
    :param cold: whether the robot is switched on with it
    """

    index: int
    stamp_ns: int
    cold: bool


@dataclass(frozen=True, kw_only=True)
class Replay(Bounded):
    """How the walk is replayed; the defaults are as it was recorded."""

    reverse: bool = option(False, 'walk backwards, the last image first')
    speed: float = option(
        1.0, 'times as fast as recorded: 2 leaves out every second image, 0.5 shows each twice',
        minimum=0.1, maximum=100.0)
    start_every: int = option(
        0, 'switch the robot off and on again every N images; 0 never', minimum=0)
    cut: tuple[tuple[int, int], ...] = field(default=(), metadata={
        'doc': 'stretches A:B of the reference that are left out of the map, B not included'})

    def __post_init__(self) -> None:
        super().__post_init__()
        for first, end in self.cut:
            if not 0 <= first < end:
                raise ConfigError(
                    f'cut {first}:{end} is empty; give the first image of the reference to leave '
                    'out and the one after the last, such as 100:150')

    def left_out(self, references: int) -> frozenset[int]:
        """
        Return the images of the reference that are not mapped.

        :param references: how many there are
        :raises ConfigError: a stretch lies outside, or nothing is left
        """
        for first, end in self.cut:
            if end > references:
                raise ConfigError(
                    f'cut {first}:{end} ends after the last of the {references} images of the '
                    'reference; give a smaller one')
        gone = frozenset(row for first, end in self.cut for row in range(first, end))
        if len(gone) == references:
            raise ConfigError(
                f'the cuts leave none of the {references} images of the reference; nothing would '
                'be mapped')
        return gone

    def count(self, images: int) -> int:
        """Return how many images are shown of a recording of so many."""
        return math.ceil(images / self.speed - _ROUNDING)

    def starts(self, shown: int) -> range:
        """Return the images of a replay at which a cold start is tried, none near its end."""
        step = self.start_every or max(_FEWEST, shown // _STARTS)
        return range(0, max(1, shown - step + 1), step)

    def of(self, stamps_ns: Sequence[int]) -> list[Shown]:
        """
        Return what is shown of a recording.

        :param stamps_ns: of its images, in nanoseconds, at least one
        """
        order = range(len(stamps_ns))[::-1 if self.reverse else 1]
        first_ns, last_ns = stamps_ns[0], stamps_ns[-1]
        recorded = [first_ns + last_ns - stamps_ns[index] if self.reverse else stamps_ns[index]
                    for index in order]
        shown: list[Shown] = []
        for number in range(self.count(len(order))):
            place = min(math.floor(number * self.speed + _ROUNDING), len(order) - 1)
            # Where the speed is 1, a stamp is the recorded one to the nanosecond.
            past = number * self.speed - place
            stamp_ns = recorded[place] + round(past * self._gap_ns(recorded, place))
            if self.speed != 1.0:
                stamp_ns = first_ns + round((stamp_ns - first_ns) / self.speed)
            shown.append(Shown(
                order[place], stamp_ns,
                number == 0 or bool(self.start_every and number % self.start_every == 0)))
        return shown

    @staticmethod
    def _gap_ns(recorded: Sequence[int], place: int) -> int:
        """Return the time from an image to the next; after the last one as before it."""
        before = min(place, len(recorded) - 2)
        return recorded[before + 1] - recorded[before] if before >= 0 else 0

    def describe(self) -> str:
        """Return in words what was changed, '' for nothing."""
        changes = [
            'backwards' if self.reverse else '',
            f'{self.speed:g} times as fast' if self.speed != 1.0 else '',
            f'switched off and on again every {self.start_every} images'
            if self.start_every else '',
            'the map without the reference images ' + ' and '.join(
                f'{first} to {end - 1}' for first, end in self.cut) if self.cut else '']
        return ', '.join(filter(None, changes))
