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

"""What flake8 finds in the sources, for the tests of code and of docstrings."""

from __future__ import annotations

from functools import cache
from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).resolve().parents[1]
CHECKED = ('vpr_compressed', 'test', 'launch', 'benchmarks', 'tools', 'setup.py')


@cache
def style_errors() -> tuple[str, ...]:
    """Return a line ``file:line:column: code text`` for each error; runs once a session."""
    result = subprocess.run(
        [sys.executable, '-m', 'flake8', '--no-show-source', *CHECKED], cwd=ROOT,
        capture_output=True, text=True, check=False)
    errors = tuple(result.stdout.splitlines())
    assert result.returncode == (1 if errors else 0), result.stderr
    return errors
