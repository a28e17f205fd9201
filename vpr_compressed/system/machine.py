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

"""What decides the numbers of a measurement: time, processor, memory, versions, other load."""

from __future__ import annotations

import hashlib
from importlib import metadata
import os
from pathlib import Path
import platform
import sys
import time
from typing import Any

_PACKAGES = (
    'vpr_compressed', 'numpy', 'onnxruntime', 'openvino', 'torch', 'faiss-cpu',
    'opencv-python-headless', 'opencv-python', 'opencv-contrib-python',
    'opencv-contrib-python-headless', 'onnx', 'onnxruntime-gpu', 'rosbags')


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    found = {'python': platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and system of this computer."""
    import psutil  # here, because a robot asks this module for its processor only

    return {
        'processor': processor(), 'cores': os.cpu_count() or 0,
        'memory_bytes': psutil.virtual_memory().total, 'system': platform.platform(),
        'python': sys.implementation.name}


def processor() -> str:
    """Return the name of the processor, or of its kinds of cores; Linux hides it from Python."""
    for label in ('model name', 'Model', 'CPU part'):
        found = {line.partition(':')[2].strip() for line in cpu_facts().splitlines()
                 if line.startswith(label)}
        if found:
            return ', '.join(sorted(found))
    return platform.processor() or platform.machine()


def cpu_facts() -> str:
    """Return what Linux says of the processor, instruction sets included; '' elsewhere."""
    try:
        return Path('/proc/cpuinfo').read_text(encoding='ascii', errors='ignore')
    except OSError:
        return ''


class OtherLoad:
    """How busy other programs keep the processor, from now on."""

    def __init__(self) -> None:
        self._start, self._busy = time.monotonic(), self._others_s()

    def cores(self) -> float:
        """Return the cores they kept busy on average."""
        passed = time.monotonic() - self._start
        return max(0.0, self._others_s() - self._busy) / passed if passed > 0 else 0.0

    @staticmethod
    def _others_s() -> float:
        """Return the seconds of all cores that were neither idle nor this process's."""
        import psutil

        system, own = psutil.cpu_times(), psutil.Process().cpu_times()
        # Guests are counted under user as well.
        idle = system.idle + sum(
            getattr(system, name, 0.0) for name in ('iowait', 'guest', 'guest_nice'))
        return float(sum(system) - idle - own.user - own.system)
