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
One thread that owns the map and the recognizer, fed by a mailbox for a single image.

Whatever the camera's rate, the thread always takes the newest image and the older ones are
counted as dropped: a 200 ms inference never builds a queue, and services, parameters and
lifecycle requests stay answered. Jobs (save, clear, close) run between two images in the same
thread, so the map and its SQLite connection never see a second one.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
import threading
from typing import Any
from typing import Generic
from typing import TypeVar

from vpr_compressed.errors import VprError

ItemT = TypeVar('ItemT')
ResultT = TypeVar('ResultT')


class Worker(Generic[ItemT]):
    """A thread with a single-slot mailbox for items and a queue for jobs."""

    def __init__(self, handle: Callable[[ItemT], None], name: str = 'recognizer') -> None:
        """
        Start the thread.

        :param handle: called in the thread with each item taken; it must not raise
        :param name: name of the thread, for debuggers
        """
        self._handle = handle
        self._wake = threading.Condition()
        self._item: ItemT | None = None
        self._jobs: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: ItemT) -> bool:
        """
        Leave the newest item, replacing one that was not taken yet.

        :returns: True if an older item was dropped
        """
        with self._wake:
            dropped = self._item is not None
            self._item = item
            self._wake.notify()
        return dropped

    def discard(self) -> None:
        """Empty the mailbox."""
        with self._wake:
            self._item = None

    def submit(self, job: Callable[[], ResultT]) -> Future[ResultT]:
        """
        Run a job in the thread, before the next item.

        :returns: the result or the exception of the job
        """
        future: Future[ResultT] = Future()
        with self._wake:
            if self._stopping:
                future.set_exception(VprError('the node is shutting down'))
            else:
                self._jobs.append((job, future))
                self._wake.notify()
        return future

    def call(self, job: Callable[[], ResultT], timeout_s: float | None = None) -> ResultT:
        """
        Run a job in the thread and wait for its result.

        :param timeout_s: longest wait in seconds; the job then still runs later
        :raises VprError: it did not run in time
        """
        try:
            return self.submit(job).result(timeout_s)
        except FutureTimeoutError as error:
            raise VprError(f'the recognizer is busy for more than {timeout_s:.0f} s; '
                           'see /diagnostics for its inference time') from error

    def stop(self) -> None:
        """Finish the item in hand and the queued jobs, drop the waiting item, end the thread."""
        with self._wake:
            self._stopping = True
            self._item = None
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or self._item is not None or self._stopping)
                jobs, self._jobs = self._jobs, []
                item, self._item = (None, self._item) if jobs else (self._item, None)
                if not jobs and item is None:
                    return
            for job, future in jobs:
                _complete(job, future)
            if item is not None:
                self._handle(item)


def _complete(job: Callable[[], Any], future: Future[Any]) -> None:
    """Run a job and hand its result or exception to whoever waits."""
    try:
        future.set_result(job())
    except Exception as error:  # the caller of the job gets it, the thread must live on
        future.set_exception(error)
