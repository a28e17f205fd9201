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

"""What README, CONTRIBUTING and ``docs/usage.md`` name exists, and their tables are whole."""

from __future__ import annotations

from pathlib import Path
import re
import shlex

import pytest

from vpr_compressed.cli.main import make_parser
from vpr_compressed.cli.main import VERBS
from vpr_compressed.offline.compression.recipe import STEPS
from vpr_compressed.offline.datasets.layouts import LAYOUTS

ROOT = Path(__file__).resolve().parents[1]
USAGE = (ROOT / 'docs' / 'usage.md').read_text(encoding='utf-8')
CONTRIBUTING = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')


def commands(path: Path) -> list[list[str]]:
    """Return the arguments of each command in the indented blocks that is written out in full."""
    text = path.read_text(encoding='utf-8').replace('\\\n', ' ')
    lines = re.findall(r'^    vpr_compressed (.+)$', text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines if ' ... ' not in line]


@pytest.mark.parametrize(
    'arguments', [*commands(ROOT / 'README.md'), *commands(ROOT / 'docs' / 'usage.md')],
    ids=' '.join)
def test_a_command_of_the_documentation_is_understood(arguments: list[str]) -> None:
    """Its verb and its options exist."""
    if '--help' not in arguments:
        assert callable(make_parser(arguments[0]).parse_args(arguments).run)


def first_column(heading: str) -> list[str]:
    """Return the first cells of the table whose first heading is given."""
    table = USAGE.partition(f'\n| {heading} |')[2].partition('\n\n')[0]
    return [cell.strip('`') for cell in re.findall(r'^\| ([^ |]+) \|', table, re.MULTILINE)]


def test_every_verb_step_and_layout_is_listed() -> None:
    """Each verb with a section of its own."""
    verbs = [re.fullmatch(r'\[(.+)\]\(#(.+)\)', cell) for cell in first_column('verb')]
    assert {found[1] for found in verbs if found and found[1] == found[2]} == set(VERBS)
    assert set(re.findall('^## (.+)$', USAGE, re.MULTILINE)) == set(VERBS)
    assert set(first_column('step')) == set(STEPS)
    assert set(first_column('layout')) == set(LAYOUTS)


def test_the_files_that_contributing_names_exist() -> None:
    """Paths start at the root or in the package."""
    named = re.findall(r'`([\w./]+(?:/|\.(?:py|md|xml)))`', CONTRIBUTING)
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists() or (ROOT / 'vpr_compressed' / name).exists(), name


def test_the_way_of_an_image_is_short() -> None:
    """Eight files at most, from the topic to the match."""
    section = CONTRIBUTING.partition('\n## The way of an image\n')[2].partition('\n## ')[0]
    files = re.findall(r'^\d+\. `([^`]+)`', section, re.MULTILINE)
    assert 5 <= len(set(files)) == len(files) <= 8
    assert all((ROOT / 'vpr_compressed' / name).is_file() for name in files)
