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

"""A tiny parent, its student and pictures it has described: what the core is tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_model import make_tiny_model

COUNT = 24


@pytest.fixture(scope='session')
def one_thread() -> None:
    """Keep torch to one thread: on so small a network others only wait for each other."""
    torch = pytest.importorskip('torch', reason='networks are built with torch (train extra)')
    torch.set_num_threads(1)


@pytest.fixture
def make_student(one_thread: None) -> Callable[[], Any]:
    """Return a function that makes a fresh student of the tiny model."""
    from vpr_compressed.offline.compression.student import Student

    return lambda: Student.of_model(make_tiny_model())


@pytest.fixture(scope='session')
def views(one_thread: None) -> Any:
    """Return 24 pictures of coarse colour blocks with the parent's descriptors."""
    from vpr_compressed.offline.compression.student import Student
    from vpr_compressed.offline.training.describe import describe_views
    from vpr_compressed.offline.training.views import Views

    blocks = np.random.default_rng(0).integers(0, 255, (COUNT, 6, 8, 3), dtype=np.uint8)
    model = make_tiny_model()
    found = Views(blocks.repeat(8, axis=1).repeat(8, axis=2), COUNT, model.preprocessing)
    found.parent = describe_views(
        Student.of_model(model).network, found, np.arange(COUNT), exact=True)
    return found
