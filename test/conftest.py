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

"""
What all tests share: a small real model, randomness, real data, modules of missing packages.

A test module imports what it needs at its top, optional packages as well. Where one is missing,
each of its tests counts as skipped, and no other module is affected.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
import os
from pathlib import Path
import re

# Message setters accept nonsense silently unless this is set before rclpy is imported.
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from tiny_model import make_tiny_model  # noqa: E402

from vpr_compressed.model_file.model import write_model  # noqa: E402

#: Packages a machine may lack, and where they come from.
OPTIONAL = {
    r'torch|torchvision|safetensors': 'the extra "train"',
    r'scipy|utm|openvino': 'an extra of its name',
    r'rclpy|launch|launch_ros|\w+_(msgs|srvs|interfaces)': 'ROS 2 ("make setup", or source one)',
}


class SkippedTest(pytest.Item):
    """A test whose module cannot be imported here."""

    def __init__(self, *, package: str, origin: str, **given: object) -> None:
        super().__init__(**given)
        self.package, self.origin = package, origin

    def runtest(self) -> None:
        """Say why it does not run."""
        pytest.skip(f'{self.package} is not installed; it comes with {self.origin}')


class TestModule(pytest.Module):
    """A test module that may need optional packages."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Yield its tests; skipped ones, parameters not counted, where a package is missing."""
        try:
            yield from super().collect()
        except self.CollectError as error:
            cause = error.__cause__
            if not isinstance(cause, ModuleNotFoundError):
                raise
            package = str(cause.name).partition('.')[0]
            origin = next(
                (text for names, text in OPTIONAL.items() if re.fullmatch(names, package)), None)
            if origin is None:
                raise
            for node in ast.parse(self.path.read_text(encoding='utf-8')).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith('test_'):
                    yield SkippedTest.from_parent(
                        self, name=node.name, package=package, origin=origin)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module:
    """
    Collect each test module by itself.

    The hook of launch_testing imports modules while it collects their folder, so that one which
    skips itself or fails ends the folder. It is not asked: no test here is a launch test.
    """
    return TestModule.from_parent(parent, path=module_path)


@pytest.fixture(scope='session', autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep which engine is fastest out of the user's own cache, here and in processes."""
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture
def rng() -> np.random.Generator:
    """Return randomness that is the same in every run."""
    return np.random.default_rng(7)


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """Return the folder with real images, or skip."""
    folder = os.environ.get('VPR_TEST_DATA', '')
    if not folder or not Path(folder).is_dir():
        pytest.skip('VPR_TEST_DATA names no folder with the real image sets')
    return Path(folder)


@pytest.fixture(scope='session')
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small, real model file: 64x48 input, 16-D descriptor, random weights."""
    path = tmp_path_factory.mktemp('model') / 'tiny.vpr'
    write_model(path, make_tiny_model())
    return path
