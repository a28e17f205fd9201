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

"""Workers and how they end: with results, with a reason, killed, cancelled, left alone."""

from __future__ import annotations

from contextlib import closing
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import psutil
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.system import processes
from vpr_compressed.system.processes import MeasurementCancelledError
from vpr_compressed.system.processes import run_worker
from vpr_compressed.system.processes import Worker

LIMIT_S = 60.0
SERVE = 'import sys\nfrom vpr_compressed.system.processes import *\n'
ECHO = SERVE + """
def work(arguments):
    print('a library says hello')
    talker()(3, 3)
    yield {'got': arguments}
    for question in questions():
        yield [question, question]

sys.exit(serve(work))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a module ``worker``, an echo until it is written anew."""
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    path = tmp_path / 'worker.py'
    path.write_text(ECHO, encoding='utf-8')
    return path


def wait_until(condition: object) -> None:
    """Wait until a callable says True."""
    end_s = time.monotonic() + LIMIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_one_result_and_what_was_done(module: Path) -> None:
    """Arguments arrive as they are; what else is printed does no harm."""
    asked: list[tuple[int, int]] = []
    found = run_worker('worker', {'a': [1, None, 'x']}, name='it',
                       progress=lambda done, total: asked.append((done, total)))
    assert found == {'got': {'a': [1, None, 'x']}}
    assert asked == [(3, 3)]


def test_a_worker_answers_as_often_as_it_is_asked(module: Path) -> None:
    """A question may be longer than a command line; the process ends with the block."""
    with closing(Worker('worker', 1, name='it')) as worker:
        assert worker.result() == {'got': 1}
        assert worker.ask(7) == [7, 7]
        assert worker.ask('x' * 300_000) == ['x' * 300_000] * 2
    assert worker._child.returncode == 0


@pytest.mark.parametrize(('code', 'message'), [
    ('raise SystemExit("first\\nthe reason")', '^the reason$'),
    ('import os; os.kill(os.getpid(), 9)', 'it was ended by signal 9; is there too little memory'),
    ('import os; os.kill(os.getpid(), 15)', 'it was ended by signal 15$'),
    ('import sys; sys.stderr.write("hm\\n"); sys.exit(3)', 'ended with status 3; it said: hm'),
    ('print(7)', 'it gave no answer'),
    (SERVE + 'def work(_):\n    raise VprError("mend it")\n    yield\nsys.exit(serve(work))',
     '^mend it$'),
    ('import time; time.sleep(600)', 'did not finish within 0.5 s'),
])
def test_no_result_has_a_reason(code: str, message: str, module: Path) -> None:
    """Its own words, or how it ended."""
    module.write_text(code, encoding='utf-8')
    with pytest.raises(VprError, match=message):
        run_worker('worker', None, name='it', limit_s=0.5 if 'sleep' in code else None)


@pytest.mark.parametrize('code', ['raise SystemExit(130)', 'import os; os.kill(os.getpid(), 2)'])
def test_an_interrupted_worker_is_a_cancellation(code: str, module: Path) -> None:
    """Somebody sent it a signal of its own."""
    module.write_text(code, encoding='utf-8')
    with pytest.raises(MeasurementCancelledError, match='interrupted'):
        run_worker('worker', None, name='it')


def test_a_worker_that_dies_between_two_questions(module: Path) -> None:
    """The next question says how; the log is named."""
    log = module.with_name('log')
    with closing(Worker('worker', None, name='it', log=log)) as worker:
        worker.result()
        os.kill(worker._child.pid, signal.SIGKILL)
        worker._child.wait()
        with pytest.raises(VprError, match=r'signal 9; is there too little memory.*log'):
            worker.ask(1)


def test_a_cancelled_worker_is_gone_even_if_it_does_not_want_to(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it has started."""
    monkeypatch.setattr(processes.stop, '__defaults__', (0.3,))
    module.write_text(
        'import signal, subprocess, sys, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\n'
        'print(\'{"done": 1, "total": 2}\', flush=True)\ntime.sleep(600)\n', encoding='utf-8')
    found: list[psutil.Process] = []

    def look(_done: int, _total: int) -> None:
        found.extend(psutil.Process().children(recursive=True))

    with pytest.raises(MeasurementCancelledError, match='cancelled'):
        run_worker('worker', None, name='it', cancelled=lambda: bool(found), progress=look)
    assert len(found) == 2
    assert psutil.wait_procs(found, timeout=LIMIT_S)[1] == []


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells of the death of a parent')
def test_a_worker_ends_with_its_parent(module: Path, tmp_path: Path) -> None:
    """Even if that was killed and could not say so."""
    note = tmp_path / 'pid'
    module.write_text(
        f'import os, pathlib, time\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))\n'
        'time.sleep(600)\n', encoding='utf-8')
    with subprocess.Popen([sys.executable, '-c', (
            'from vpr_compressed.system.processes import run_worker\n'
            'run_worker("worker", None, name="it")')], env=processes.environment()) as parent:
        wait_until(lambda: note.exists() and note.read_text())
        child = psutil.Process(int(note.read_text()))
        parent.kill()
    assert psutil.wait_procs([child], timeout=LIMIT_S)[1] == []


def test_ctrl_c_means_what_it_says_in_a_child_of_a_background_job(module: Path) -> None:
    """There it is ignored by inheritance; a child that is asked to stop has to hear it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = processes.start([sys.executable, '-c', 'import time; time.sleep(600)'])
    finally:
        signal.signal(signal.SIGINT, before)
    # While it turns into the program, it has no command line at all.
    wait_until(lambda: psutil.Process(child.pid).cmdline()[1:] == [
        '-c', 'import time; time.sleep(600)'])
    child.send_signal(signal.SIGINT)
    assert child.wait(LIMIT_S) != 0


def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """The last image always, the others at most twice a second."""
    progress = processes.talker()
    for number in range(1, 5001):
        progress(number, 5000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == '{"done": 5000, "total": 5000}'
    assert len(lines) < 10
