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

"""What other programs do to the processor while something is measured."""

from __future__ import annotations

import time

import psutil


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
        system, own = psutil.cpu_times(), psutil.Process().cpu_times()
        # Guests are counted under user as well.
        idle = system.idle + sum(
            getattr(system, name, 0.0) for name in ('iowait', 'guest', 'guest_nice'))
        return float(sum(system) - idle - own.user - own.system)
