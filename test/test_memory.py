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
import sys

import numpy as np
import psutil
import pytest

from vpr_compressed import memory

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')


def test_it_is_what_others_count() -> None:
    """Within the few pages that change between two looks."""
    assert memory.resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.02)


def test_the_peak_remembers_what_was_freed_until_it_is_forgotten() -> None:
    """An array of 64 MB that is gone again."""
    memory.forget_peak()
    before = memory.resident_bytes()
    block = np.ones(64 << 20, np.uint8)
    del block
    assert memory.peak_bytes() > before + (60 << 20)
    assert memory.resident_bytes() < before + (10 << 20)
    memory.forget_peak()
    assert memory.peak_bytes() < before + (10 << 20)


def test_freed_memory_goes_back_to_the_system() -> None:
    """Many small blocks, which the allocator keeps otherwise."""
    blocks = [bytes(1000) for _ in range(60_000)]
    full = memory.resident_bytes()
    del blocks
    memory.give_back()
    assert memory.resident_bytes() < full - (30 << 20)


def test_systems_without_proc_say_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing fails there."""
    def missing(self: Path, *_: object, **__: object) -> str:
        raise FileNotFoundError(self)
    monkeypatch.setattr(Path, 'read_text', missing)
    monkeypatch.setattr(Path, 'write_text', missing)
    memory.forget_peak()
    assert (memory.resident_bytes(), memory.peak_bytes()) == (0, 0)
