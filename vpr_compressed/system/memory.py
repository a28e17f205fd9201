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

"""What this process holds in memory, from Linux's ``/proc``; zeros on other systems."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    return _status('VmRSS:')


def peak_bytes() -> int:
    """Return the most this process has held, or held since :func:`forget_peak`, in bytes."""
    return _status('VmHWM:')


def forget_peak() -> None:
    """Have Linux measure the peak from now on."""
    with contextlib.suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')


def give_back() -> None:
    """Have glibc return memory that was freed, 10 to 20 MB after loading, to the system."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return  # another C library keeps it


def _status(label: str) -> int:
    """Return one line of the process status in bytes, 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
            if line.startswith(label):
                return int(line.split()[1]) * 1024
    return 0
