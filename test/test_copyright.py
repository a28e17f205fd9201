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


"""Every source file carries the licence header, and the licence is there."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('vpr_compressed', 'test', 'launch', 'benchmarks', 'tools')
SOURCES = sorted([ROOT / 'setup.py', *(
    path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py'))])
HEADER = """\
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


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source_starts_with_copyright_and_licence(path: Path) -> None:
    """The rule of ament_copyright, which is not on PyPI; an empty file needs none there either."""
    text = path.read_text(encoding='utf-8')
    if path.name == '__init__.py' and not text:
        return
    first, _, rest = text.partition('\n')
    if first.startswith('#!'):
        first, _, rest = rest.partition('\n')
    assert first == '# Copyright 2026 The vpr_compressed authors'
    assert rest.startswith(HEADER)


def test_the_licence_is_apache_2() -> None:
    """The file that package.xml and the headers speak of."""
    text = (ROOT / 'LICENSE').read_text(encoding='utf-8')
    assert 'Apache License' in text
    assert 'Version 2.0, January 2004' in text
    assert 'END OF TERMS AND CONDITIONS' in text


@pytest.mark.copyright
@pytest.mark.linter
def test_ament_copyright_is_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker of the ROS 2 build farm, where a distribution is installed."""
    checker = pytest.importorskip('ament_copyright.main')
    monkeypatch.chdir(ROOT)
    assert checker.main(argv=['.', '--exclude', 'build', 'install', 'log']) == 0
