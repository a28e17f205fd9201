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

"""One request "where am I?": look until a place is accepted or time is up."""

from __future__ import annotations

import threading
import time
from typing import Any

from vpr_compressed.records import Recognition
from vpr_compressed.ros.place_recognition.counters import describe_answer


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
