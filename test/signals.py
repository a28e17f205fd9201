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
Decide what ctrl-C means to a process that a test starts.

A shell's background job and many supervisors ignore SIGINT, and every process started from there
inherits that. A test that sends SIGINT therefore says itself whether the process hears it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import signal
import subprocess
from typing import Any


@contextmanager
def sigint(*, default: bool = True) -> Iterator[None]:
    """
    Let this process, and those started inside the block, hear SIGINT or ignore it.

    :param default: True for Python's handling (``KeyboardInterrupt``), False to ignore it
    """
    # No preexec_fn: it may deadlock where other threads run. A handler of ours is gone after exec,
    # so the child starts with the system's default.
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler if default else signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def popen_with_sigint(
    command: Sequence[str], *, default: bool = True, **options: Any
) -> subprocess.Popen[Any]:
    """
    Start a process that hears SIGINT or ignores it, whatever this process does.

    :param command: program and arguments
    :param default: True to hear it, False to ignore it as a background job does
    :param options: of ``subprocess.Popen``
    """
    with sigint(default=default):
        return subprocess.Popen(command, **options)
