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

"""The verb benchmark: a table for people, numbers for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.offline.network.engines import ALL_ENGINES


def test_models_engines_and_threads_are_compared(
    tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each; the first is what the others are compared with."""
    path = tmp_path / 'new' / 'numbers.json'
    assert main(['benchmark', '--model', str(tiny_model_path), '--engines', 'onnxruntime',
                 'opencv', '--threads', '1', '2', '--images', '3', '--json', str(path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ['model', 'engine', 'threads', 'ms']
    cells = [line.split() for line in lines]
    assert [row[1:3] for row in cells] == [
        ['onnxruntime', '1'], ['onnxruntime', '2'], ['opencv', '1'], ['opencv', '2']]
    assert cells[0][5] == '1.00x'
    assert all(float(row[-1]) > 0.999 for row in cells)
    numbers = json.loads(path.read_text())
    assert [entry['engine'] for entry in numbers] == [row[1] for row in cells]
    assert all(entry['p50_ms'] > 0.0 for entry in numbers)


def test_an_engine_that_is_missing_is_named_below_the_table(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path
) -> None:
    """The others are timed all the same; exit status 1 only if none ran."""
    (tmp_path / 'openvino').mkdir()
    (tmp_path / 'openvino' / '__init__.py').write_text('raise ImportError("no openvino here")')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    arguments = ['benchmark', '--model', str(tiny_model_path), '--images', '2', '--engines']
    assert main([*arguments, 'openvino', 'onnxruntime']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1:4] == ['openvino', 'all', '-']
    assert "engine 'openvino' is not installed" in lines[-1]
    assert main([*arguments, 'openvino']) == 1


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--engines', 'onnxrutime'], "did you mean 'onnxruntime'"),
    (['--model', 'missing.vpr'], 'no model file'),
])
def test_bad_input_is_refused_before_the_race(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the remedy."""
    assert main(['benchmark', *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['--threads', '-1'], ['--images', '0'], ['--images', 'x']])
def test_impossible_numbers_are_refused(arguments: list[str]) -> None:
    """By argparse, exit code 2."""
    with pytest.raises(SystemExit) as stop:
        main(['benchmark', *arguments])
    assert stop.value.code == 2


def test_all_installed_engines_take_part_by_default() -> None:
    """Also the reference, as the yardstick."""
    from argparse import ArgumentParser

    from vpr_compressed.cli import benchmark

    parser = ArgumentParser()
    benchmark.add_arguments(parser)
    found = benchmark.entrants(parser.parse_args([]))
    assert [entrant.engine for entrant in found] == ALL_ENGINES.installed()
    assert {entrant.name for entrant in found} == {'default'}
