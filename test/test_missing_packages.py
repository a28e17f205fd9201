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

"""A package that is missing costs the tests that need it, and no others."""

from __future__ import annotations

from pathlib import Path
import re
import subprocess
import sys

ROOT = Path(__file__).resolve().parents[1]
#: launch_testing imports each module while its folder is collected; it must not be asked.
RUN = """
import sys
import pytest

class LaunchTesting:
    def pytest_pycollect_makemodule(self, module_path, parent):
        raise AssertionError(f'asked for {{module_path}}')

for name in {missing}:
    sys.modules[name] = None  # importing it fails as if it were not installed
sys.exit(pytest.main({arguments}, plugins=[LaunchTesting()]))
"""


def run(*arguments: str, missing: tuple[str, ...]) -> str:
    """Run pytest without some packages; return the end of what it says."""
    code = RUN.format(missing=missing, arguments=['-p', 'no:cacheprovider', '-rs', *arguments])
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_tests_of_a_missing_package_are_counted_as_skipped_and_the_others_run() -> None:
    """The summary says how many, and why."""
    said = run('test/offline/training/test_losses.py', 'test/offline/accuracy/test_agreement.py',
               missing=('torch', 'torchvision'))
    functions = re.findall(
        '^def test_', (ROOT / 'test/offline/training/test_losses.py').read_text(), re.MULTILINE)
    assert re.search(rf'[1-9]\d* passed, {len(functions)} skipped', said), said
    assert f'SKIPPED [{len(functions)}]' in said
    assert 'torch is not installed; it comes with the extra "train"' in said


def test_no_module_skips_itself() -> None:
    """That would end the collection of its folder where launch_testing imports it."""
    for path in (ROOT / 'test').rglob('test_*.py'):
        for line in path.read_text(encoding='utf-8').splitlines():
            assert not re.match(r'(\w+ = )?pytest\.(importorskip|skip)\(', line), f'{path}: {line}'


def test_without_ros_the_tests_of_its_nodes_are_skipped() -> None:
    """Also where a message package is imported before rclpy."""
    missing = ('diagnostic_msgs', 'geometry_msgs', 'rclpy', 'sensor_msgs', 'std_msgs')
    said = run('test/ros/test_conversions.py', 'test/ros/test_services.py', missing=missing)
    assert re.search(r'= [1-9]\d* skipped in', said), said
    assert 'is not installed; it comes with ROS 2' in said
