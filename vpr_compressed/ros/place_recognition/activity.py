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

from collections import deque
from dataclasses import dataclass
import threading
import time
from typing import Any

import numpy as np

from vpr_compressed.records import Recognition

_WINDOW = 200


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
    looked: int = 0
    accepted: int = 0


class Statistics:
    """Counters since activation, written by two threads, read once a second."""

    def __init__(self) -> None:
        """Count from now on."""
        self.counts = Counts()
        self.encoding = self.last_error = self.last_answer = ''
        self._since_s = time.monotonic()
        self._lock = threading.Lock()
        self._arrivals_s: deque[float] = deque(maxlen=_WINDOW)
        self._outcomes: deque[bool] = deque(maxlen=_WINDOW)
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

    def processed(self, recognition: Recognition, total_ms: float, looked: bool) -> None:
        """
        Count an image that was processed.

        :param total_ms: from its arrival to the published answer, in milliseconds
        :param looked: whether the map was searched
        """
        with self._lock:
            self.counts.processed += 1
            self.counts.added += recognition.added is not None
            self._times_ms['inference'].append(recognition.inference_ms)
            self._times_ms['total'].append(total_ms)
            if looked:
                accepted = recognition.match is not None
                self.counts.looked += 1
                self.counts.accepted += accepted
                self._outcomes.append(accepted)
                self.last_answer = describe_answer(recognition)

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

    def accept_rate(self) -> float:
        """Return the share of recent images with an accepted place, 0 when none was looked at."""
        with self._lock:
            return sum(self._outcomes) / len(self._outcomes) if self._outcomes else 0.0


def describe_answer(recognition: Recognition) -> str:
    """Return the outcome of one image in words."""
    match = recognition.match
    if match is not None:
        return (f'place {match.keyframe.keyframe_id} accepted, similarity {match.similarity:.3f}, '
                f'confidence {match.confidence:.2f}, {match.votes} vote{"s" * (match.votes > 1)}')
    if not recognition.candidates:
        return 'nothing in the map to compare with'
    best = recognition.candidates[0]
    return (f'no place accepted; most similar is {best.keyframe.keyframe_id} with similarity '
            f'{best.similarity:.3f}')


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
