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

import re

import pytest
from style_errors import CHECKED
from style_errors import ROOT
from style_errors import style_errors


@pytest.mark.linter
@pytest.mark.pep257
def test_docstrings_follow_the_ros_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs ament_pep257 where it is installed, else looks for such rules in what flake8 said."""
    monkeypatch.chdir(ROOT)
    try:
        from ament_pep257.main import main
    except ImportError:
        pytest.importorskip('flake8_docstrings')
        errors = [line for line in style_errors() if re.search(r':\d+: D\d', line)]
        assert not errors, '\n'.join(errors)
    else:
        assert main(argv=list(CHECKED)) == 0, 'ament_pep257 found errors, see above'
