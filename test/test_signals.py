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

"""The helper that makes processes hear ctrl-C or ignore it does so from wherever it is run."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from signals import popen_with_sigint
from signals import sigint

WAITS = 'import sys\nprint("ready", flush=True)\nsys.stdin.read()\nprint("kept on")'


@pytest.mark.parametrize('inherited', [True, False])
@pytest.mark.parametrize('default', [True, False])
def test_a_child_hears_ctrl_c_or_not_as_the_test_says(inherited: bool, default: bool) -> None:
    """Whether this run was started in the foreground or in the background."""
    with sigint(default=inherited):
        before = signal.getsignal(signal.SIGINT)
        process = popen_with_sigint(
            [sys.executable, '-c', WAITS], default=default, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert signal.getsignal(signal.SIGINT) is before
    with process:
        assert process.stdout.readline() == 'ready\n'
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
    assert said == ('' if default else 'kept on\n')
    assert process.returncode == (-signal.SIGINT if default else 0)
