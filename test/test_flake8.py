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


"""The rules of ament_flake8, with or without a ROS 2 installation."""

from __future__ import annotations

import pytest
from style_errors import CHECKED
from style_errors import ROOT
from style_errors import style_errors


@pytest.mark.flake8
@pytest.mark.linter
def test_sources_follow_the_ros_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs ament_flake8 where it is installed, else flake8 with the same rules (setup.cfg)."""
    monkeypatch.chdir(ROOT)
    try:
        from ament_flake8.main import main_with_errors
    except ImportError:
        pytest.importorskip('flake8')
        assert not style_errors(), '\n'.join(style_errors())
    else:
        code, errors = main_with_errors(argv=list(CHECKED))
        assert code == 0, '\n'.join(errors)
