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

"""What the node has done since activation, the attempt to localise included."""

from __future__ import annotations

from collections import Counter
from collections import deque
from dataclasses import dataclass
import threading
import time
from typing import Any

import numpy as np

from vpr_compressed.records import Decision
from vpr_compressed.records import Recognition
from vpr_compressed.records import Status

#: So many images without what is needed are worth a word, unless they came in less than ...
MANY_IMAGES = 100
#: ... so many seconds.
LONG_S = 30.0
_WINDOW = 200
#: Why places that look known may be withheld for long -> what to do.
_REMEDIES = {
    Status.UNSURE: 'lower decision.min_precision, or fit the model to this site with '
                   '"vpr_compressed calibrate"',
    Status.LOOK_ALIKE: 'the images cannot tell these places apart; odometry can '
                       '(odometry_source), and so can a camera that sees more of them'}
#: Key on ``/diagnostics`` -> what may become of an image that was looked at.
_DECIDED = {
    status.name.lower(): status for status in Status if status is not Status.CANDIDATE}


@dataclass
class Counts:
    """How many images went where since activation."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    bad: int = 0
    without_pose: int = 0
    time_jumps: int = 0
    added: int = 0
    with_odometry: int = 0


class Statistics:
    """Counters since activation, written by two threads, read once a second."""

    def __init__(self) -> None:
        """Count from now on."""
        self.counts = Counts()
        self.encoding = self.last_error = self.last_answer = ''
        self._since_s = time.monotonic()
        self._lock = threading.Lock()
        self._arrivals_s: deque[float] = deque(maxlen=_WINDOW)
        self._outcomes: Counter[Status] = Counter()
        self._recent: deque[Decision] = deque(maxlen=_WINDOW)
        #: Of the images since the last accepted place, and when the first of them was answered.
        self._withheld: Counter[Status] = Counter()
        self._withheld_since_s = 0.0
        self._times_ms: dict[str, deque[float]] = {
            name: deque(maxlen=_WINDOW) for name in ('inference', 'total')}

    def arrived(self, encoding: str) -> None:
        """Count an image that came in."""
        with self._lock:
            self.counts.received += 1
            self.encoding = encoding
            self._arrivals_s.append(time.monotonic())

    def add(self, name: str) -> None:
        """Count one more of ``dropped``, ``without_pose`` or ``time_jumps``."""
        with self._lock:
            setattr(self.counts, name, getattr(self.counts, name) + 1)

    def bad_image(self, reason: str) -> None:
        """Count an image that could not be used."""
        with self._lock:
            self.counts.bad += 1
            self.last_error = reason

    def processed(
        self, recognition: Recognition, total_ms: float, *, odometry: bool = False
    ) -> None:
        """
        Count an image that was processed.

        :param total_ms: from its arrival to the published answer, in milliseconds
        :param odometry: whether it was known where the robot was
        """
        with self._lock:
            self.counts.processed += 1
            self.counts.added += recognition.added is not None
            self._times_ms['inference'].append(recognition.inference_ms)
            self._times_ms['total'].append(total_ms)
            if recognition.decision is not None:
                self.counts.with_odometry += odometry
                self.last_answer = recognition.decision.reason
                self._decided(recognition.decision)

    def age_s(self) -> float:
        """Return seconds since the last image, or since activation when none came."""
        with self._lock:
            return time.monotonic() - (self._arrivals_s[-1] if self._arrivals_s else self._since_s)

    def rate_hz(self, window_s: float = 5.0) -> float:
        """Return images per second over the last seconds."""
        with self._lock:
            now = time.monotonic()
            recent = sum(now - arrival <= window_s for arrival in self._arrivals_s)
            return recent / max(min(window_s, now - self._since_s), 1e-3)

    def latency_ms(self) -> dict[str, float]:
        """Return p50 and p95 of inference and of arrival-to-answer, in milliseconds."""
        with self._lock:
            return {f'{name}_ms_p{rank}': float(np.percentile(times, rank))
                    for name, times in self._times_ms.items() if times for rank in (50, 95)}

    def matching(self) -> dict[str, Any]:
        """
        Return what became of the images that were looked at.

        :returns: ``looked``; a count for every status; ``accept_rate`` and ``confidence_p50`` of
            the recent ones, in [0, 1], and the last ``confidence``, 0 when none was looked at
        """
        with self._lock:
            confidences = [decision.confidence for decision in self._recent] or [0.0]
            return {
                'looked': self._outcomes.total(),
                **{name: self._outcomes[status] for name, status in _DECIDED.items()},
                'with_odometry': self.counts.with_odometry,
                'accept_rate': sum(each.accepted for each in self._recent) / len(confidences),
                'confidence_p50': float(np.median(confidences)), 'confidence': confidences[-1]}

    def complaint(self) -> str:
        """
        Return that nothing is accepted although it should be, and what to do; '' else.

        A robot that stands, or is where the map has no place, is no reason to complain.
        """
        with self._lock:
            counts = {status: self._withheld[status] for status in _REMEDIES}
            doubtful = sum(counts.values())
            if doubtful < MANY_IMAGES or doubtful <= self._withheld[Status.UNKNOWN] or (
                    time.monotonic() - self._withheld_since_s < LONG_S):
                return ''
        reasons = ', '.join(
            f'{count} {status.words}' for status, count in counts.items() if count)
        return (f'no place accepted in {doubtful} images that look like places of the map '
                f'({reasons}): {_REMEDIES[max(counts, key=counts.__getitem__)]}')

    def in_words(self) -> str:
        """Return the last answer, and that to be off the map for long is no fault."""
        with self._lock:
            unknown, last = self._withheld[Status.UNKNOWN], self.last_answer
            if 2 * unknown > self._withheld.total() and unknown >= MANY_IMAGES:
                return f'off the map for {unknown} images, which is no fault: {last}'
        return last or 'nothing looked at'

    def _decided(self, decision: Decision) -> None:
        """Count a decision; the lock is held."""
        self._outcomes[decision.status] += 1
        self._recent.append(decision)
        if decision.accepted:
            self._withheld.clear()
            return
        if not self._withheld:
            self._withheld_since_s = time.monotonic()
        self._withheld[decision.status] += 1


def describe_answer(recognition: Recognition) -> str:
    """Return the outcome of one image in words."""
    decision = recognition.decision
    return 'the map was not searched' if decision is None else decision.reason


class Attempt:
    """
    The localisation asked for with ``~/trigger_localization``, at most one at a time.

    It is started by the executor thread and ended by the worker thread, or by the clock.
    """

    def __init__(self, logger: Any) -> None:
        """
        Start idle.

        :param logger: gets the outcome of every attempt
        """
        self._logger = logger
        self._lock = threading.Lock()
        self._deadline_s: float | None = None
        self._best = ''
        self.outcome = ''

    @property
    def active(self) -> bool:
        """Whether an attempt is running."""
        return self._deadline_s is not None

    def start(self, timeout_s: float) -> None:
        """Start, or start again with a new deadline in seconds of wall time."""
        with self._lock:
            self._deadline_s = time.monotonic() + timeout_s
            self._best = 'no image was processed'
            self.outcome = 'looking'

    def answered(self, recognition: Recognition) -> None:
        """Take the answer of one image; an accepted place ends the attempt."""
        with self._lock:
            self._best = describe_answer(recognition)
            if self._deadline_s is not None and recognition.match is not None:
                self._finish(f'localised: {self._best}')

    def check_time(self) -> None:
        """End an attempt whose time is up."""
        with self._lock:
            if self._deadline_s is not None and time.monotonic() > self._deadline_s:
                self._finish(f'not localised in time: {self._best}')

    def _finish(self, outcome: str) -> None:
        self._deadline_s = None
        self.outcome = outcome
        self._logger.info(f'trigger_localization: {outcome}')
