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

"""Memory of this process, as Linux counts it."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import psutil
import pytest

from vpr_compressed.system import memory

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')


def test_it_is_what_others_count() -> None:
    """Within the few pages that change between two looks."""
    assert memory.resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.02)


def in_a_new_process(code: str) -> list[int]:
    """Return the numbers a program prints; this process may have room for anything already."""
    done = subprocess.run(
        [sys.executable, '-c', f'from vpr_compressed.system import memory\n{code}'], cwd=ROOT,
        capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_the_peak_remembers_what_was_freed_until_it_is_forgotten() -> None:
    """A block of 64 MB that is gone again."""
    before, peak, after, forgotten = in_a_new_process(
        'memory.forget_peak(); before = memory.resident_bytes()\n'
        'block = bytearray(64 << 20); del block\n'
        'peak, after = memory.peak_bytes(), memory.resident_bytes()\n'
        'memory.forget_peak(); print(before, peak, after, memory.peak_bytes())')
    assert peak > before + (60 << 20)
    assert after < before + (10 << 20)
    assert forgotten < before + (10 << 20)


def test_freed_memory_goes_back_to_the_system() -> None:
    """Many small blocks with one behind them that stays, so that the heap cannot shrink."""
    full, freed, given = in_a_new_process(
        'blocks = [bytearray(1000) for _ in range(60_000)]; last = bytearray(1000)\n'
        'full = memory.resident_bytes(); del blocks; freed = memory.resident_bytes()\n'
        'memory.give_back(); print(full, freed, memory.resident_bytes())')
    assert given < full - (30 << 20)
    assert given < freed


def test_systems_without_proc_say_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing fails there."""
    def missing(self: Path, *_: object, **__: object) -> str:
        raise FileNotFoundError(self)
    monkeypatch.setattr(Path, 'read_text', missing)
    monkeypatch.setattr(Path, 'write_text', missing)
    memory.forget_peak()
    assert (memory.resident_bytes(), memory.peak_bytes()) == (0, 0)
