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

"""The pages: what a missing library or a missing value means, and what no page holds."""

from __future__ import annotations

from pathlib import Path
import sys

from jinja2 import UndefinedError
import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.offline.reports import page

TEMPLATES = Path(page.__file__).with_name('templates')


@pytest.mark.parametrize('more', [['--tolerance-frames', '0'], ['--live']])
def test_missing_jinja2_is_said_before_any_work(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after an hour of measuring; nothing is read, nothing is written."""
    monkeypatch.setitem(sys.modules, 'jinja2', None)
    out = tmp_path / 'out'
    assert main(['evaluate', '--reference', str(tmp_path / 'nowhere'), '--query',
                 str(tmp_path / 'nowhere'), '--out', str(out), *more]) == 1
    error = capsys.readouterr().err
    assert 'pip install "vpr_compressed[offline]"' in error
    assert error.count('\n') == 1
    assert not out.exists()


def test_a_value_that_is_missing_is_an_error() -> None:
    """A hole in a page would be taken for a number that is zero or unknown."""
    with pytest.raises(UndefinedError, match='values'):
        page.render('live.html.j2')


@pytest.mark.parametrize('path', sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_has_a_script_or_an_address(path: Path) -> None:
    """A page is read on a robot without network, and printed."""
    text = path.read_text(encoding='utf-8')
    for forbidden in ('<script', '<link', 'http:', 'https:', '@import', 'url(', '|safe'):
        assert forbidden not in text
