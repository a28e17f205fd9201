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
One thread that owns the recognizer, fed by a mailbox for a single image.

Whatever the camera's rate, the thread always takes the newest image and the older ones are
counted as dropped: a 200 ms inference never builds a queue, and services, parameters and
lifecycle requests stay answered. Jobs (save, clear, tune) run between two images.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
import threading
from typing import Generic
from typing import TypeVar

from vpr_compressed.errors import VprError

ItemT = TypeVar('ItemT')
ResultT = TypeVar('ResultT')


class MailboxThread(Generic[ItemT]):
    """A thread that handles the newest item, and jobs in the order they came."""

    def __init__(self, handle: Callable[[ItemT], None]) -> None:
        """
        Start idle.

        :param handle: called in the thread with each item taken; it must not raise
        """
        self._handle = handle
        self._lock = threading.Lock()
        self._item: ItemT | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='recognizer')

    def put(self, item: ItemT) -> bool:
        """
        Leave the newest item, replacing one that was not taken yet.

        :returns: True if an older item was dropped
        """
        with self._lock:
            dropped = self._item is not None
            self._item = item
        if not dropped:
            self.submit(self._take)
        return dropped

    def discard(self) -> None:
        """Empty the mailbox."""
        with self._lock:
            self._item = None

    def submit(self, job: Callable[[], ResultT]) -> Future[ResultT]:
        """
        Run a job in the thread, after what was left there before it.

        :returns: the result or the exception of the job
        :raises VprError: the thread was stopped
        """
        try:
            return self._pool.submit(job)
        except RuntimeError as error:
            raise VprError('the node is shutting down') from error

    def call(self, job: Callable[[], ResultT], timeout_s: float | None = None) -> ResultT:
        """
        Run a job in the thread and wait for its result.

        :param timeout_s: longest wait in seconds; the job then still runs later
        :raises VprError: it did not run in time, or the thread was stopped
        """
        try:
            return self.submit(job).result(timeout_s)
        except FutureTimeoutError as error:
            raise VprError(f'the recognizer is busy for more than {timeout_s:.0f} s; '
                           'see /diagnostics for its inference time') from error

    def stop(self) -> None:
        """Finish the item in hand and the jobs, drop the waiting item, end the thread."""
        self.discard()
        self._pool.shutdown()

    def _take(self) -> None:
        """Handle the newest item, if it was not discarded."""
        with self._lock:
            item, self._item = self._item, None
        if item is not None:
            self._handle(item)
