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

"""Processes of this package that another process of it starts."""

from __future__ import annotations

import os
from pathlib import Path


def environment(**changes: str) -> dict[str, str]:
    """
    Return the environment in which a child imports this very package, installed or not.

    :param changes: further variables
    """
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, **changes, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
