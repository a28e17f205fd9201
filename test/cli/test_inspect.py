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

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.cli.main import main
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Pose
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.parity import describe_reference


@pytest.fixture
def map_path(tmp_path: Path) -> Path:
    """Return a map with two places in one session and an empty session."""
    path = tmp_path / 'site.vprmap'
    with PlaceMap.create(
            path, descriptor_id='0123456789abcdef', dimension=4, model_name='toy') as place_map:
        place_map.begin_session('monday')
        place_map.add(np.eye(4, dtype=np.float32)[0], stamp_ns=1_500_000_000,
                      thumbnail=bytes(3000))
        place_map.add(np.eye(4, dtype=np.float32)[1], stamp_ns=2_000_000_000,
                      pose=Pose(position_m=(1.0, 2.0, 0.0)))
        place_map.begin_session('tuesday')
    return path


def test_model_is_shown_with_its_tensors(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec, precision, decision, provenance and bytes of each tensor."""
    assert main(['inspect', str(tiny_model_path)]) == 0
    lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert 'kind model' in lines
    assert 'precision int8' in lines
    assert 'curves fitted on textures' in lines
    needed = make_tiny_model().calibration.walk.threshold(0.99)
    assert f'for min_precision 0.99 {needed:.6g}' in lines
    assert 'made_by the tests' in lines
    row = next(line.split() for line in lines if line.startswith('projection.weight'))
    # Too few of nearly equally likely values to be worth coding.
    assert row[1:7] == ['16', 'x', '32', 'int8', 'grid', 'raw']
    assert 100 < int(row[7]) <= 255
    assert row[8] == '8'
    assert any(line.startswith('stem.bias 8 float32 raw - 32 0') for line in lines)


def test_model_as_json_is_complete(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bytes of the tensors are nearly those of the file."""
    assert main(['inspect', str(tiny_model_path), '--json']) == 0
    values = json.loads(capsys.readouterr().out)
    assert values['bytes'] == tiny_model_path.stat().st_size
    assert values['dimension'] == 16
    assert 0 < sum(tensor['bytes'] for tensor in values['tensors']) < values['bytes']
    bound = sum(tensor['bound_bytes'] for tensor in values['tensors'])
    assert bound == pytest.approx(values['entropy_bound_bytes'], rel=1e-3)
    assert values['over_bound_percent'] == pytest.approx(
        100 * (values['bytes'] / bound - 1), rel=0.01)
    assert values['symbol_bound_bytes'] < values['entropy_bound_bytes']


@pytest.fixture
def checked_path(tmp_path: Path) -> Path:
    """Return a model that holds the descriptors of its reference images."""
    model = make_tiny_model()
    found = describe_reference(ENGINES.load(model, threads=1), model.preprocessing)
    path = tmp_path / 'checked.vpr'
    write_model(path, dataclasses.replace(model, reference=found.astype(np.float16)))
    return path


def test_check_runs_the_reference_images(
    checked_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cosine and times to load are printed."""
    assert main(['inspect', str(checked_path), '--check', '--json']) == 0
    check = json.loads(capsys.readouterr().out)['check']
    assert check['lowest_cosine'] > 0.9999
    assert 0 < check['read_ms'] < 10_000
    assert check['engine'] == 'onnxruntime'
    assert main(['inspect', str(checked_path), '--check']) == 0
    assert 'lowest_cosine' in capsys.readouterr().out


def test_check_and_memory_go_together(
    checked_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are shown, and the check decides."""
    more = ['--check', '--memory', '--places', '10', '--json']
    assert main(['inspect', str(checked_path), *more]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts['check']['lowest_cosine'] > 0.9999
    assert facts['memory'][0]['stage'] == 'Python'


def test_check_fails_where_descriptors_differ(
    checked_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is shown all the same, and the error says by how much."""
    model = read_model(checked_path)
    assert model.reference is not None
    write_model(tmp_path / 'other.vpr', dataclasses.replace(model, reference=-model.reference))
    assert main(['inspect', str(tmp_path / 'other.vpr'), '--check']) == 1
    output = capsys.readouterr()
    assert 'lowest_cosine' in output.out
    assert 'other descriptors here' in output.err
    assert '0.99 is needed' in output.err


def test_check_needs_descriptors_to_compare_with(
    tiny_model_path: Path, map_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model without them and a map are refused."""
    assert main(['inspect', str(tiny_model_path), '--check']) == 1
    assert 'no reference descriptors' in capsys.readouterr().err
    assert main(['inspect', str(map_path), '--check']) == 1
    assert 'need a model' in capsys.readouterr().err


def test_map_is_shown_with_its_sessions(
    map_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a session that has no place yet."""
    assert main(['inspect', str(map_path)]) == 0
    lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert 'kind map' in lines
    assert 'places 2' in lines
    assert 'model name toy' in lines
    assert 'thumbnail bytes 3.00 kB' in lines
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


def test_memory_is_shown_stage_by_stage(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a node holds, and which part brings it; for people and for programs."""
    assert main(['inspect', str(tiny_model_path), '--memory', '--places', '3000', '--json']) == 0
    stages = json.loads(capsys.readouterr().out)['memory']
    names = [stage['stage'] for stage in stages]
    assert names[0] == 'Python'
    assert names[-4:] == ['model on onnxruntime', 'first image', '20 more images', '3 000 places']
    assert {'OpenCV', 'recogniser'} < {*names}
    totals = [stage['total_bytes'] for stage in stages]
    added = [stage['added_bytes'] for stage in stages]
    assert np.cumsum(added).tolist() == totals
    assert all(stage['peak_bytes'] >= stage['total_bytes'] for stage in stages)
    assert main(['inspect', str(tiny_model_path), '--memory', '--engine', 'opencv']) == 0
    assert 'model on opencv' in capsys.readouterr().out


def test_memory_needs_a_model_that_runs(
    map_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A map holds no network, and a misspelt engine runs none."""
    assert main(['inspect', str(map_path), '--memory']) == 1
    assert '--check and --memory need a model' in capsys.readouterr().err
    assert main(['inspect', str(tiny_model_path), '--memory', '--engine', 'opencw']) == 1
    assert "did you mean 'opencv'" in capsys.readouterr().err
