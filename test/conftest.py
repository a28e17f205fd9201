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

"""Fixtures shared by all tests: seeded randomness, a small real model, optional real data."""

from __future__ import annotations

import os
from pathlib import Path

# Message setters accept nonsense silently unless this is set before rclpy is imported.
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from tiny_model import make_tiny_model  # noqa: E402

from vpr_compressed.model_file.model import write_model  # noqa: E402


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
