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

"""What is said of this computer, from made-up answers of the system."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest

from vpr_compressed.system import machine


@pytest.mark.parametrize(('text', 'wanted'), [
    ('model name\t: Intel(R) N100\nflags\t: avx_vnni\nmodel name\t: Intel(R) N100\n',
     'Intel(R) N100'),
    ('CPU part\t: 0xd03\nModel\t\t: Raspberry Pi 5 Model B\n', 'Raspberry Pi 5 Model B'),
    ('CPU part\t: 0xd0b\nCPU part\t: 0xd05\n', '0xd05, 0xd0b'),
])
def test_a_processor_has_a_name(
    text: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of a small board, and one with two kinds of cores."""
    monkeypatch.setattr(Path, 'read_text', lambda *_args, **_options: text)
    assert machine.processor() == wanted
    assert machine.machine()['processor'] == wanted
    assert ('avx_vnni' in machine.cpu_facts()) == ('avx_vnni' in text)


def test_where_linux_says_nothing_there_is_still_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without ``/proc``."""
    def missing(*_args: object, **_options: object) -> str:
        raise FileNotFoundError
    monkeypatch.setattr(Path, 'read_text', missing)
    assert machine.cpu_facts() == ''
    assert machine.processor()


class Times(NamedTuple):
    """Some of what psutil tells, in seconds."""

    user: float
    guest: float
    idle: float
    iowait: float


class Clock:
    """Times of processor and process that stand still until they are set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy = self.guest = self.idle = self.own = self.now = 0.0
        monkeypatch.setattr(psutil, 'cpu_times', self.system)
        monkeypatch.setattr(psutil, 'Process', lambda: SimpleNamespace(
            cpu_times=lambda: SimpleNamespace(user=self.own, system=0.0)))
        monkeypatch.setattr(machine.time, 'monotonic', lambda: self.now)

    def system(self) -> Times:
        """Return what psutil would."""
        return Times(self.busy, self.guest, self.idle, 1.0)


def test_load_of_others_is_told_from_the_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds; this process takes one and a half of a core, others half of one."""
    clock = Clock(monkeypatch)
    load = machine.OtherLoad()
    assert load.cores() == 0.0
    clock.now, clock.idle, clock.own, clock.busy = 2.0, 20.0, 3.0, 4.0
    assert load.cores() == pytest.approx(0.5)
    clock.guest, clock.busy = 1.0, 5.0  # a virtual machine counts under user as well
    assert load.cores() == pytest.approx(1.0)


def test_rounding_of_the_system_never_gives_less_than_no_load(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of processes are finer than those of the processor."""
    clock = Clock(monkeypatch)
    load = machine.OtherLoad()
    clock.now, clock.own, clock.busy = 1.0, 1.0, 0.99
    assert load.cores() == 0.0
