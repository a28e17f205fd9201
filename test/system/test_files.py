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

"""Files appear whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

from vpr_compressed.system.files import whole_file
from vpr_compressed.system.files import write_whole

ROOT = Path(__file__).resolve().parents[2]
KILLED_IN_THE_MIDDLE = """
import os, pathlib, signal, sys
from vpr_compressed.system.files import whole_file
with whole_file(pathlib.Path(sys.argv[1])) as part:
    part.write_bytes(b'half of it')
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_appears_with_its_bytes_and_its_folders(tmp_path: Path) -> None:
    """Nothing but the file is left."""
    path = tmp_path / 'new' / 'folder' / 'file.bin'
    write_whole(path, b'all of it')
    assert path.read_bytes() == b'all of it'
    assert list(path.parent.iterdir()) == [path]


def test_an_old_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """While the new one is written, the old one is there; a reader keeps the one it opened."""
    path = tmp_path / 'file.bin'
    path.write_bytes(b'old')
    with path.open('rb') as reader:
        with whole_file(path) as part:
            part.write_bytes(b'new')
            assert path.read_bytes() == b'old'
        assert reader.read() == b'old'
    assert path.read_bytes() == b'new'


@pytest.mark.parametrize('old', [None, b'old'])
def test_a_kill_in_the_middle_leaves_the_old_file_or_none(
    tmp_path: Path, old: bytes | None
) -> None:
    """SIGKILL gives no chance to clean up; what is left has another name."""
    path = tmp_path / 'file.bin'
    if old is not None:
        path.write_bytes(old)
    done = subprocess.run(
        [sys.executable, '-c', KILLED_IN_THE_MIDDLE, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (path.read_bytes() if path.exists() else None) == old
    write_whole(path, b'new')
    assert path.read_bytes() == b'new'


@pytest.mark.parametrize('error', [OSError('disk full'), ValueError('no'), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_no_part(tmp_path: Path, error: BaseException) -> None:
    """Ctrl-C included."""
    path = tmp_path / 'file.bin'
    path.write_bytes(b'old')

    def fail_in_the_middle() -> None:
        with whole_file(path) as part:
            part.write_bytes(b'half')
            raise error

    with pytest.raises(type(error)):
        fail_in_the_middle()
    assert [file.name for file in tmp_path.iterdir()] == ['file.bin']
    assert path.read_bytes() == b'old'


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    """The block does not even start."""
    path = tmp_path / 'file.bin'
    path.write_bytes(b'old')
    with pytest.raises(FileExistsError, match=r'File exists.*file\.bin'):
        write_whole(path, b'new', overwrite=False)
    assert path.read_bytes() == b'old'


@pytest.mark.parametrize('links', [True, False])
def test_a_file_that_came_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Of two processes that write one name, the second fails; with hard links or without."""
    if not links:
        def no_links(source: Path, target: Path) -> None:
            raise PermissionError(f'{source} {target}')
        monkeypatch.setattr(os, 'link', no_links)
    path = tmp_path / 'file.bin'

    def be_second() -> None:
        with whole_file(path, overwrite=False) as part:
            part.write_bytes(b'mine')
            path.write_bytes(b'theirs')

    with pytest.raises(FileExistsError):
        be_second()
    assert path.read_bytes() == b'theirs'
    assert [file.name for file in tmp_path.iterdir()] == ['file.bin']
    path.unlink()
    write_whole(path, b'mine', overwrite=False)
    assert path.read_bytes() == b'mine'
    assert [file.name for file in tmp_path.iterdir()] == ['file.bin']


def test_the_part_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    """Numbers of processes come again."""
    path = tmp_path / 'file.bin'
    left = tmp_path / f'file.bin.{os.getpid()}.part'
    left.write_bytes(b'left over')
    with whole_file(path) as part:
        assert not part.exists()
        part.write_bytes(b'all')
    assert path.read_bytes() == b'all'
    assert not left.exists()


@pytest.mark.parametrize('overwrite', [True, False])
def test_a_file_in_place_of_a_folder_is_another_error(tmp_path: Path, overwrite: bool) -> None:
    """It must not be taken for the target."""
    (tmp_path / 'file').write_bytes(b'old')
    with pytest.raises(NotADirectoryError):
        write_whole(tmp_path / 'file' / 'model.vpr', b'new', overwrite=overwrite)


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """As root, a file in the place of /dev/null would break every other program."""
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    for target in (pipe, tmp_path):
        with pytest.raises(FileExistsError):
            write_whole(target, b'text')
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [pipe]
