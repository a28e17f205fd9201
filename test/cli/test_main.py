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

"""The command line as a whole: help, verbs, and what an error looks like."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
import signal
import subprocess
import sys

import pytest
from signals import popen_with_sigint

from vpr_compressed.cli import options
from vpr_compressed.cli.main import main
from vpr_compressed.cli.main import VERBS
from vpr_compressed.errors import VprError
from vpr_compressed.system import terminal

ROOT = Path(__file__).resolve().parents[2]


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in an own process."""
    return subprocess.run(
        [sys.executable, '-m', 'vpr_compressed', *arguments], cwd=ROOT, capture_output=True,
        text=True, check=False)


def test_help_lists_every_verb_with_its_line() -> None:
    """Each verb and its help stand on one line."""
    result = run_module('--help')
    assert result.returncode == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    for verb, text in VERBS.items():
        assert [verb, text] in lines


@pytest.mark.parametrize('verb', VERBS)
def test_verb_teaches_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb shows how it is used."""
    with pytest.raises(SystemExit) as stop:
        main([verb, '--help'])
    assert stop.value.code == 0
    assert f'vpr_compressed {verb}' in capsys.readouterr().out.partition('examples:')[2]


def test_help_shows_defaults_that_say_something(capsys: pytest.CaptureFixture[str]) -> None:
    """A default of None or False is no information."""
    with pytest.raises(SystemExit):
        main(['evaluate', '--help'])
    text = capsys.readouterr().out
    assert '(default: out/evaluate)' in text
    assert 'default: None' not in text
    assert 'default: False' not in text


def test_unknown_verb_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """As argparse does it, exit code 2."""
    with pytest.raises(SystemExit) as stop:
        main(['evalute'])
    assert stop.value.code == 2
    assert 'evaluate' in capsys.readouterr().err


def raise_interrupt(_: Namespace) -> None:
    """Stand for ctrl-C while a verb runs."""
    raise KeyboardInterrupt


def raise_error(_: Namespace) -> None:
    """Stand for an expected error."""
    raise VprError('it is broken; mend it')


@pytest.mark.parametrize(('run', 'code', 'text'), [
    (raise_error, 1, 'error: it is broken; mend it\n'),
    (raise_interrupt, 130, 'interrupted\n'),
])
def test_expected_ends_are_one_line_and_an_exit_code(
    run: object, code: int, text: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback for what a user can cause."""
    monkeypatch.setattr('vpr_compressed.cli.inspect.run', run)
    assert main(['inspect']) == code
    assert capsys.readouterr().err == text


def test_closed_pipe_ends_quietly(tiny_model_path: Path) -> None:
    """As in ``vpr_compressed inspect model.vpr | head -1``."""
    process = subprocess.Popen(
        [sys.executable, '-u', '-m', 'vpr_compressed', 'inspect', str(tiny_model_path)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate()
    assert 'Traceback' not in error


WAITING_VERB = """
import sys
from vpr_compressed.cli import inspect
from vpr_compressed.cli.main import main

def run(args):
    try:
        print('at work', flush=True)
        sys.stdin.read()
    finally:
        print('cleaned up')

inspect.run = run
sys.exit(main(['inspect', 'model.vpr']))
"""


@pytest.mark.parametrize(('number', 'heard', 'code'), [
    (signal.SIGINT, True, 130), (signal.SIGINT, False, 0),
    (signal.SIGTERM, True, 130), (signal.SIGTERM, False, 130)])
def test_a_verb_ends_in_order_at_sigterm_and_at_a_ctrl_c_that_is_not_ignored(
    number: signal.Signals, heard: bool, code: int
) -> None:
    """A background job ignores ctrl-C, and what it starts does so too."""
    with popen_with_sigint(
            [sys.executable, '-c', WAITING_VERB], default=heard, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == 'at work\n'
        process.send_signal(number)
        if not code:
            process.stdin.close()
        said, error = process.stdout.read(), process.stderr.read()
    assert process.returncode == code
    assert said == 'cleaned up\n'
    assert error == ('interrupted\n' if code else '')


@pytest.mark.parametrize(('text', 'value'), [('0', 0.0), ('0.0', 0.0), ('2.5', 2.5)])
def test_numbers_of_the_command_line(text: str, value: float) -> None:
    """Zero is allowed where it means "off"."""
    assert options.not_negative(text) == value


@pytest.mark.parametrize('text', ['-1', 'nan', 'inf', 'two', ''])
def test_numbers_that_make_no_sense_are_refused(text: str) -> None:
    """Before anything else happens."""
    with pytest.raises(options.ArgumentTypeError):
        options.not_negative(text)


@pytest.mark.parametrize(('count', 'text'), [
    (0, '0 B'), (999, '999 B'), (1000, '1.00 kB'), (9996, '10.0 kB'), (999_600, '1.00 MB'),
    (1_494_000, '1.49 MB'), (19_800_000, '19.8 MB'), (150_300_000, '150 MB'), (3e9, '3.00 GB'),
    (2e12, '2000 GB'),
])
def test_bytes_are_readable(count: float, text: str) -> None:
    """Powers of 1000, so that file sizes can be compared with the file manager."""
    assert terminal.human_bytes(count) == text
