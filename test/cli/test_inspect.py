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

"""The verb inspect: models and maps, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.map_store import PlaceMap
from vpr_compressed.records import Pose


@pytest.fixture
def map_path(tmp_path: Path) -> Path:
    """Return a map with two places in one session and an empty session."""
    path = tmp_path / 'site.vprmap'
    with PlaceMap.create(
            path, descriptor_id='0123456789abcdef', dimension=4, model_name='toy') as place_map:
        place_map.begin_session('monday')
        place_map.add(np.eye(4, dtype=np.float32)[0], stamp_ns=1_500_000_000)
        place_map.add(np.eye(4, dtype=np.float32)[1], stamp_ns=2_000_000_000,
                      pose=Pose(position_m=(1.0, 2.0, 0.0)))
        place_map.begin_session('tuesday')
    return path


def test_model_is_shown_with_its_tensors(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec, precision, threshold, provenance and bytes of each tensor."""
    assert main(['inspect', str(tiny_model_path)]) == 0
    lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert 'kind model' in lines
    assert 'precision int8' in lines
    assert 'threshold 0.9' in lines
    assert 'made_by the tests' in lines
    assert 'projection.weight 16 x 32 int8 576 B int8 grid' in lines


def test_model_as_json_is_complete(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bytes of the tensors are nearly those of the file."""
    assert main(['inspect', str(tiny_model_path), '--json']) == 0
    values = json.loads(capsys.readouterr().out)
    assert values['bytes'] == tiny_model_path.stat().st_size
    assert values['dimension'] == 16
    assert 0 < sum(tensor['bytes'] for tensor in values['tensors']) < values['bytes']


def test_map_is_shown_with_its_sessions(
    map_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a session that has no place yet."""
    assert main(['inspect', str(map_path)]) == 0
    lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert 'kind map' in lines
    assert 'places 2' in lines
    assert 'model name toy' in lines
    assert '1 monday 2 1 1.500 s 2.000 s' in lines
    assert '2 tuesday 0 0 - -' in lines


def test_looking_at_a_map_does_not_change_it(
    map_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one byte, and no files beside it."""
    before = map_path.read_bytes()
    assert main(['inspect', str(map_path), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['places'] == 2
    assert map_path.read_bytes() == before
    assert [entry.name for entry in map_path.parent.iterdir()] == [map_path.name]


@pytest.mark.parametrize(('content', 'message'), [
    (None, 'cannot read'),
    (b'', 'thing.bin'),
    (b'neither of them', 'thing.bin'),
    (b'SQLite format 3\0' + bytes(50), 'thing.bin'),
])
def test_anything_else_is_refused(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file, an empty one, a text, and a broken database."""
    path = tmp_path / 'thing.bin'
    if content is not None:
        path.write_bytes(content)
    assert main(['inspect', str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
