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

from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path

import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.offline.measuring import race
from vpr_compressed.offline.measuring.race import Entrant
from vpr_compressed.offline.measuring.race import Finisher
from vpr_compressed.offline.network.engines import ALL_ENGINES


def made_up_race(
    entrants: Sequence[Entrant], *, rounds: int, progress: Callable[[str, int, int], None]
) -> list[Finisher]:
    """Return what a race on another machine could have found: each is slower than the last."""
    for number in range(rounds):
        progress('racing', number + 1, rounds)
    return [
        Finisher(
            entrant=entrant, engine=entrant.engine, precision='int8', p50_ms=8.0 + 2.0 * number,
            p95_ms=20.0, cpu_ms=9.0, file_bytes=1_500_000, resident_bytes=49_000_000,
            peak_bytes=61_000_000, load_s=0.25, descriptors=((1.0, 0.0), (0.0, 1.0)))
        for number, entrant in enumerate(entrants)]


def test_models_engines_and_threads_are_compared(
    tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each; the first is what the others are compared with."""
    monkeypatch.setattr(race, 'race', made_up_race)
    path = tmp_path / 'new' / 'numbers.json'
    assert main(['benchmark', '--model', str(tiny_model_path), '--engines', 'onnxruntime',
                 'opencv', '--threads', '1', '2', '--images', '3', '--json', str(path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ['model', 'engine', 'threads', 'ms']
    cells = [line.split() for line in lines]
    assert [row[1:3] for row in cells] == [
        ['onnxruntime', '1'], ['onnxruntime', '2'], ['opencv', '1'], ['opencv', '2']]
    assert cells[0][5] == '1.00x'
    assert cells[3] == ['tiny', 'opencv', '2', '14.0', '20.0', '0.57x', '1.5', '49', '61', '0.25',
                        '1.0000']
    numbers = json.loads(path.read_text())
    assert [(entry['engine'], entry['threads']) for entry in numbers] == [
        (row[1], int(row[2])) for row in cells]
    assert [entry['p50_ms'] for entry in numbers] == [8.0, 10.0, 12.0, 14.0]


def test_an_engine_that_is_missing_is_named_below_the_table(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path
) -> None:
    """The others are timed all the same, here by a real race; status 1 only if none ran."""
    (tmp_path / 'openvino').mkdir()
    (tmp_path / 'openvino' / '__init__.py').write_text('raise ImportError("no openvino here")')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    arguments = ['benchmark', '--model', str(tiny_model_path), '--images', '2', '--engines']
    numbers = tmp_path / 'numbers.json'
    assert main([*arguments, 'openvino', 'onnxruntime', '--json', str(numbers)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1:4] == ['openvino', 'all', '-']
    assert lines[2].split()[1] == 'onnxruntime'
    assert lines[2].split()[-1] == '1.0000'
    assert "engine 'openvino' is not installed" in lines[-1]
    missing, timed = json.loads(numbers.read_text())
    assert 'not installed' in missing['error']
    assert (timed['error'], timed['p50_ms'] > 0.0) == ('', True)
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
