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

"""How a user ends a long work, and what it raises when it ends because of that."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import signal

from vpr_compressed.errors import TrainingError


class StoppedError(TrainingError):
    """The user asked to stop; everything needed to go on is saved."""


@contextmanager
def stop_signals(tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """
    Yield a function that tells whether ctrl-C or SIGTERM has asked to stop.

    A second ctrl-C interrupts at once. Where SIGINT was ignored at the start, as in a background
    job or under nohup, it stays ignored.

    :param tell: shows the user a line
    """
    asked = False
    hears_ctrl_c = signal.getsignal(signal.SIGINT) != signal.SIG_IGN

    def handle(_number: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        hint = ''
        if hears_ctrl_c:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            hint = '; once more to stop at once'
        tell(f'finishing this step{hint}')

    numbers = (signal.SIGINT, signal.SIGTERM) if hears_ctrl_c else (signal.SIGTERM,)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
