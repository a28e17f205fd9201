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


"""The rules of ament_pep257, with or without a ROS 2 installation."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKED = ('vpr_compressed', 'test', 'launch', 'benchmarks', 'tools', 'setup.py')


@pytest.mark.linter
@pytest.mark.pep257
def test_docstrings_follow_the_ros_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs ament_pep257 where it is installed, else pydocstyle with the same rules (setup.cfg)."""
    monkeypatch.chdir(ROOT)
    try:
        from ament_pep257.main import main
    except ImportError:
        pytest.importorskip('pydocstyle')
        result = subprocess.run(
            [sys.executable, '-m', 'pydocstyle', *CHECKED], capture_output=True, text=True,
            check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    else:
        assert main(argv=list(CHECKED)) == 0, 'ament_pep257 found errors, see above'
