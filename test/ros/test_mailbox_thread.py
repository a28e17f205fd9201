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

"""The mailbox keeps the newest image, and one thread does all the work."""

from __future__ import annotations

import threading

import pytest

from vpr_compressed.errors import MapFileError
from vpr_compressed.errors import VprError
from vpr_compressed.ros.place_recognition.pipeline import MailboxThread


class Slow:
    """A handler that is busy until told to go on."""

    def __init__(self) -> None:
        """Start busy with nothing."""
        self.seen: list[int] = []
        self.threads: set[str] = set()
        self.busy = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, item: int) -> None:
        """Take an item and wait."""
        self.seen.append(item)
        self.threads.add(threading.current_thread().name)
        self.busy.set()
        assert self.go_on.wait(60.0)


def test_only_the_newest_item_is_kept_and_the_others_are_counted() -> None:
    """Thirty images during one slow inference leave one, not a queue."""
    slow = Slow()
    worker = MailboxThread(slow)
    assert not worker.put(0)
    assert slow.busy.wait(60.0)
    dropped = sum(worker.put(number) for number in range(1, 31))
    slow.go_on.set()
    worker.call(lambda: None)
    worker.stop()
    assert dropped == 29
    assert slow.seen[0] == 0
    assert slow.seen[1:] in ([], [30])


def test_the_newest_item_is_taken_after_the_slow_one() -> None:
    """Nothing newer is waiting, so the last image put is never lost."""
    slow = Slow()
    worker = MailboxThread(slow)
    worker.put(0)
    assert slow.busy.wait(60.0)
    worker.put(1)
    worker.put(2)
    slow.busy.clear()
    slow.go_on.set()
    assert slow.busy.wait(60.0)
    worker.stop()
    assert slow.seen == [0, 2]


def test_jobs_run_in_the_same_thread_and_hand_back_their_result() -> None:
    """The map's connection must never be used by a second thread."""
    slow = Slow()
    slow.go_on.set()
    worker = MailboxThread(slow)
    worker.put(1)
    name = worker.call(lambda: threading.current_thread().name)
    assert slow.busy.wait(60.0)
    worker.stop()
    assert slow.threads == {name} == {'recognizer_0'}


def test_the_error_of_a_job_reaches_the_caller_and_the_thread_lives_on() -> None:
    """A full disk while saving is an answer, not the end."""
    worker = MailboxThread(lambda item: None)

    def fail() -> None:
        raise MapFileError('disk full')

    with pytest.raises(MapFileError, match='disk full'):
        worker.call(fail)
    assert worker.call(lambda: 5) == 5
    worker.stop()


def test_a_busy_worker_is_reported_in_words() -> None:
    """A service must not hang for ever."""
    slow = Slow()
    worker = MailboxThread(slow)
    worker.put(0)
    assert slow.busy.wait(60.0)
    with pytest.raises(VprError, match='busy'):
        worker.call(lambda: None, timeout_s=0.05)
    slow.go_on.set()
    worker.stop()


def test_after_the_stop_nothing_is_accepted() -> None:
    """A late service call gets an answer."""
    worker = MailboxThread(lambda item: None)
    worker.stop()
    with pytest.raises(VprError, match='shutting down'):
        worker.call(lambda: None)
