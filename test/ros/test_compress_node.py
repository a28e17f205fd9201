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

"""The node compress with a stand-in for the verb that says what the verb says."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter
from ros_harness import ROOT
from ros_harness import TIMEOUT_S
from signals import popen_with_sigint
from std_srvs.srv import Trigger

from vpr_compressed.errors import ConfigError
from vpr_compressed.ros.compress.child import compress_command
from vpr_compressed.ros.compress.child import CompressConfig
from vpr_compressed.ros.compress.child import Progress
from vpr_compressed.ros.compress.node import CompressNode

#: Says what it is told to, line by line, and ends as the verb would. It pauses at WAIT until it
#: may go on.
CHILD = """
import json, os, signal, sys, time
log = open(sys.argv[1], 'a', buffering=1)
print(f'{os.getpid()} {os.nice(0)}', file=log)
def asked_to_end(number, _):
    print('interrupted' if number == signal.SIGTERM else 'wrong signal', file=log)
    if sys.argv[3] != 'deaf':
        sys.exit(130)
signal.signal(signal.SIGTERM, asked_to_end)
signal.signal(signal.SIGINT, asked_to_end)
for line in json.loads(sys.argv[2]):
    if line == 'wait':
        while not os.path.exists(sys.argv[1] + '.go_on'):
            time.sleep(0.02)
    elif line.startswith('stderr: '):
        print(line[8:], file=sys.stderr)
    else:
        print(line, flush=True)
if sys.argv[3] == 'killed':
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(sys.argv[3]) if sys.argv[3].isdigit() else 0)
"""
WAIT = 'wait'
#: The node in a process of its own, with the stand-in.
MAIN = """
import sys
from vpr_compressed.ros.compress import node
command = sys.argv[1:sys.argv.index('--ros-args')]
kind = node.CompressNode
node.CompressNode = lambda: kind(lambda config: command)
sys.exit(node.main(sys.argv))
"""
PROGRESS = {'event': 'progress', 'index': 2, 'count': 6, 'step': 'sparsify', 'stage': 'tuning',
            'done': 120, 'total': 300, 'eta_s': 84.0}
ROW = {'event': 'row', 'row': {
    'step': 'sparsify', 'file_bytes': 1234, 'scores': {'walk': {'recall': {'1': 0.75}}},
    'tensors': [{'name': 'a'}], 'cosine': None}}
FINISHED = {'event': 'finished', 'accepted': True, 'model': 'out/model.vpr',
            'report': 'out/report.html', 'reasons': []}
REFUSED = {'event': 'finished', 'accepted': False, 'model': None, 'report': 'out/report.html',
           'reasons': ['recall@1 fell by 3.1 points, at most 1.0']}


def lines(*events: object) -> list[object]:
    """Return events as the lines of the verb; texts stay."""
    return [json.dumps(event) if isinstance(event, dict) else event for event in events]


class Stand:
    """A stand-in for the verb."""

    def __init__(self, folder: Path, *events: object, end: object = 0) -> None:
        """Say so much, then end so."""
        folder.mkdir(exist_ok=True)
        script = folder / 'child.py'
        script.write_text(CHILD, encoding='utf-8')
        self.log = folder / 'child.log'
        self._go_on = folder / 'child.log.go_on'
        self.command = [sys.executable, str(script), str(self.log), json.dumps(lines(*events)),
                        str(end)]

    def go_on(self) -> None:
        """Let it end its pause."""
        self._go_on.touch()

    @property
    def said(self) -> list[str]:
        """What it wrote down: its number and niceness, then what happened to it."""
        return self.log.read_text(encoding='utf-8').splitlines() if self.log.exists() else []

    @property
    def pid(self) -> int:
        """Number of its process."""
        return int(self.said[0].split()[0])

    def runs(self) -> bool:
        """Tell whether its process is there and is no zombie."""
        try:
            status = Path(f'/proc/{self.pid}/stat').read_text(encoding='utf-8')
        except FileNotFoundError:
            return False
        return status.rpartition(')')[2].split()[0] != 'Z'


class Local:
    """The node in this process, run by a thread of its own."""

    def __init__(self, context: Any, stand: Stand, **parameters: object) -> None:
        """Make and run it."""
        given = {'recipe': 'r.yaml', 'images': 'walk', 'out': 'out', 'nice': 3, **parameters}
        self._context, self._stand, self._parameters = context, stand, given
        self.status: int | None = None
        self.node: CompressNode | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # here, because the child is to end with the thread that started it
        self.node = CompressNode(
            lambda config: self._stand.command, context=self._context, parameter_overrides=[
                Parameter(name, value=value) for name, value in self._parameters.items()])
        with contextlib.suppress(ExternalShutdownException):
            self.status = self.node.run()

    def ended(self, timeout_s: float = TIMEOUT_S) -> int | None:
        """Wait for the end and return the exit code."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()
        return self.status

    def close(self) -> None:
        """Stop it, whatever it does."""
        if self._thread.is_alive() and self._stand.said and self._stand.runs():
            os.kill(self._stand.pid, signal.SIGKILL)
        self._thread.join(TIMEOUT_S)
        if self.node is not None:
            self.node.destroy_node()


@pytest.fixture
def local(context: Any, tmp_path: Path) -> Iterator[Callable[..., tuple[Local, Stand]]]:
    """Yield a maker of a node and its stand-in."""
    made: list[Local] = []

    def make(*events: object, end: object = 0, **parameters: object) -> tuple[Local, Stand]:
        stand = Stand(tmp_path / 'child', *events, end=end)
        made.append(Local(context, stand, **parameters))
        return made[-1], stand

    yield make
    for node in made:
        node.close()


def statuses(peer: Any) -> list[Any]:
    """Return everything the node has published on /diagnostics."""
    return [status for array in peer.diagnostics for status in array.status
            if status.name == 'compress: compression']


def values(status: Any) -> dict[str, str]:
    """Return the key-values of a status."""
    return {item.key: item.value for item in status.values}


def call(peer: Any, name: str) -> Any:
    """Call a Trigger service of the node."""
    client = peer.create_client(Trigger, f'/compress/{name}')
    assert peer.until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    assert peer.until(future.done)
    peer.destroy_client(client)
    return future.result()


def test_progress_and_the_end_are_on_diagnostics(local: Any, peer: Any) -> None:
    """Step, share done, time left and the last row; then where the model is."""
    node, stand = local(
        {'event': 'message', 'level': 'info', 'text': 'reading'}, PROGRESS, ROW, WAIT, FINISHED)
    assert peer.until(lambda: any('row.file_bytes' in values(s) for s in statuses(peer)))
    running = statuses(peer)[-1]
    assert (running.level, running.message) == (
        b'\0', 'step 3 of 6, sparsify (tuning): 40 %, 84 s left in this stage')
    shown = values(running)
    assert {key: shown[key] for key in ('step', 'index', 'done', 'per_cent', 'eta_s', 'out')} == {
        'step': 'sparsify', 'index': '3 of 6', 'done': '120 of 300', 'per_cent': '40.0',
        'eta_s': '84', 'out': 'out'}
    assert (shown['row.file_bytes'], shown['row.scores.walk.recall.1']) == ('1234', '0.75')
    assert not [key for key in shown if 'tensors' in key]
    stand.go_on()
    assert peer.until(lambda: statuses(peer)[-1].message.startswith('wrote'))
    assert statuses(peer)[-1].message == 'wrote out/model.vpr, report out/report.html'
    assert node.ended() == 0
    assert stand.said[0].split()[1] == str(os.nice(0) + 3)


def test_a_model_that_is_not_accepted_is_a_warning(local: Any, peer: Any) -> None:
    """The reasons say by how much it failed."""
    node, stand = local(WAIT, PROGRESS, REFUSED, end=3)
    assert peer.until(lambda: statuses(peer)), 'the end would not be heard'
    stand.go_on()
    assert peer.until(lambda: statuses(peer) and 'not accepted' in statuses(peer)[-1].message)
    last = statuses(peer)[-1]
    assert (last.level, node.ended()) == (b'\1', 3)
    assert 'fell by 3.1 points' in last.message
    assert 'no model written' in last.message


@pytest.mark.parametrize(('end', 'events', 'message'), [
    (1, ['stderr: error: r.yaml has no step', 'stderr: bye'], 'failed: r.yaml has no step'),
    (1, ['stderr: Traceback', 'stderr: KeyError: 3'], 'failed: KeyError: 3'),
    ('killed', [PROGRESS], 'killed by signal 9 at step 3 of 6'),
    (0, [PROGRESS], 'without saying that it finished'),
    (2, [], 'exit code 2 and no message')])
def test_a_failure_is_an_error_with_its_reason(
    end: object, events: list[object], message: str, local: Any, peer: Any
) -> None:
    """Whatever ended the child is what /diagnostics says."""
    node, stand = local(WAIT, *events, end=end)
    assert peer.until(lambda: statuses(peer)), 'the end would not be heard'
    stand.go_on()
    assert peer.until(lambda: statuses(peer) and 'failed' in statuses(peer)[-1].message)
    assert message in statuses(peer)[-1].message
    assert statuses(peer)[-1].level == b'\2'
    assert node.ended() == 1


def test_a_line_that_makes_no_sense_is_skipped(local: Any, peer: Any) -> None:
    """What came before and after counts."""
    node, stand = local(
        PROGRESS, 'Segmentation fault?', '[]', '{"event": "progress"}',
        {**PROGRESS, 'done': 'many'}, {'event': 'row', 'row': 3}, {'event': 'later version'},
        WAIT, FINISHED)
    assert peer.until(
        lambda: statuses(peer) and values(statuses(peer)[-1])['not_understood'] == '5')
    assert values(statuses(peer)[-1])['done'] == '120 of 300'
    stand.go_on()
    assert node.ended() == 0


def test_cancel_keeps_the_checkpoint(local: Any, peer: Any) -> None:
    """The child is asked to end once, and the answer says how to go on."""
    node, stand = local(PROGRESS, WAIT)
    assert peer.until(lambda: statuses(peer) and values(statuses(peer)[-1])['step'])
    answer = call(peer, 'cancel')
    assert answer.success
    assert 'the checkpoint stays in out and the same parameters go on' in answer.message
    assert node.ended() == 130
    assert stand.said[1:] == ['interrupted']
    assert peer.until(lambda: 'cancelled at step 3 of 6' in statuses(peer)[-1].message)
    assert statuses(peer)[-1].level == b'\1'


def test_cancel_again_ends_a_child_that_does_not_listen(local: Any, peer: Any) -> None:
    """Nothing can hold the robot's memory for ever."""
    node, stand = local(PROGRESS, WAIT, end='deaf')
    assert peer.until(lambda: statuses(peer) and values(statuses(peer)[-1])['step'])
    assert call(peer, 'cancel').success
    assert peer.until(lambda: stand.said[1:] == ['interrupted'])
    assert stand.runs()
    assert 'ended at once' in call(peer, 'cancel').message
    assert node.ended() == 130
    assert not stand.runs()


def test_without_autostart_it_waits(local: Any, peer: Any) -> None:
    """A start service, and clear answers to requests that make no sense."""
    node, stand = local(PROGRESS, WAIT, FINISHED, autostart=False)
    assert peer.until(lambda: statuses(peer))
    assert statuses(peer)[-1].message == 'waiting for ~/start'
    answer = call(peer, 'cancel')
    assert (answer.success, answer.message) == (False, 'nothing runs: waiting for ~/start')
    assert not stand.said
    assert call(peer, 'start').success
    again = call(peer, 'start')
    assert not again.success
    assert 'started already' in again.message
    stand.go_on()
    assert node.ended() == 0


@pytest.mark.parametrize(('parameters', 'message'), [
    ({'recipe': ''}, 'parameter recipe is empty'),
    ({'out': ''}, 'parameter out is empty'),
    ({'images': ''}, 'neither is given'),
    ({'data': 'DATA'}, 'both are given'),
    ({'images': '', 'data': 'DATA', 'topic': '/image'}, 'images is empty'),
    ({'overrides': 'seed=1 bits'}, "needs KEY=VALUE, got 'bits'"),
    ({'overrides': 'a="b'}, 'close the quotes'),
    ({'nice': -3}, 'nice'),
    ({'threads': 'all'}, 'threads must be int'),
    ({'recipee': 'x'}, "did you mean 'recipe'"),
])
def test_parameters_that_make_no_sense_are_refused(
    parameters: dict[str, object], message: str, context: Any
) -> None:
    """Before anything is started."""
    def command(config: CompressConfig) -> list[str]:
        pytest.fail(f'started with {config}')

    given = {'recipe': 'r.yaml', 'images': 'walk', 'out': 'out', **parameters}
    with pytest.raises(ConfigError, match=message):
        CompressNode(command, context=context, parameter_overrides=[
            Parameter(name, value=value) for name, value in given.items()])


def test_the_parameters_are_the_options_of_the_verb() -> None:
    """Empty ones are left to the verb; its own parser understands the rest."""
    from vpr_compressed.cli.main import make_parser

    full = CompressConfig(
        recipe='~/r.yaml', images='walk', topic='/cam', model='m.vpr', out='o', seed=0, threads=2,
        overrides='steps.1.bits=4 name="a b"')
    command = compress_command(full)
    assert command[:3] == [sys.executable, '-m', 'vpr_compressed']
    args = make_parser('compress').parse_args(command[3:])
    assert (args.progress, args.recipe) == ('json', Path('~/r.yaml').expanduser())
    assert (args.images, args.topic, args.model, args.out) == (
        Path('walk'), '/cam', Path('m.vpr'), Path('o'))
    assert (args.seed, args.threads, args.set) == (0, 2, ['steps.1.bits=4', 'name=a b'])
    short = compress_command(CompressConfig(recipe='r', data='D', out='o'))
    args = make_parser('compress').parse_args(short[3:])
    assert (args.data, args.images, args.seed, args.set) == (Path('D'), None, None, None)


def test_numbers_that_no_step_has_do_no_harm() -> None:
    """No division by zero, no negative time, unknown time."""
    progress = Progress()
    assert progress.in_words() == 'starting'
    progress.understand(json.dumps({**PROGRESS, 'done': 0, 'total': 0, 'eta_s': None}))
    assert progress.in_words() == 'step 3 of 6, sparsify (tuning): 0 %'
    assert progress.values()['eta_s'] == 'unknown'
    progress.understand(json.dumps({**PROGRESS, 'eta_s': 11_100}))
    assert progress.in_words().endswith('3 h 05 min left in this stage')
    progress.understand(json.dumps({**PROGRESS, 'stage': ''}))
    assert progress.in_words() == 'step 3 of 6, sparsify: 40 %, 84 s left in this step'
    for number in range(50):
        progress.complain(f'line {number}')
    assert (len(progress.complaints), progress.failure()) == (20, 'line 49')


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Path]]]:
    """Yield a starter of the node in its own process, with a stand-in."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        stand: Stand, *, hears_sigint: bool = True
    ) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / 'node.log'
        with log.open('wb') as output:
            started.append(popen_with_sigint(
                [sys.executable, '-c', MAIN, *stand.command, '--ros-args', '-p', 'recipe:=r',
                 '-p', 'images:=walk', '-p', 'out:=out'],
                default=hears_sigint, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONPATH': str(ROOT)}))
        return started[-1], log

    yield start
    for running in started:
        if running.poll() is None:
            running.kill()
            running.wait()


@pytest.mark.parametrize('hears_sigint', [True, False])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_node_is_the_end_of_the_child(
    number: signal.Signals, hears_sigint: bool, process: Any, peer: Any, tmp_path: Path
) -> None:
    """It gets one SIGTERM and is waited for: its checkpoint is on disk when the node is gone."""
    stand = Stand(tmp_path, PROGRESS, WAIT)
    running, log = process(stand, hears_sigint=hears_sigint)
    assert peer.until(lambda: stand.said)
    assert peer.until(lambda: 'step 3 of 6' in log.read_text())
    running.send_signal(number)
    assert running.wait(TIMEOUT_S) == 130, log.read_text()
    assert stand.said[1:] == ['interrupted']
    assert not stand.runs()
    assert 'Traceback' not in log.read_text()


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells a child of its orphanage')
def test_a_killed_node_leaves_no_orphan(process: Any, peer: Any, tmp_path: Path) -> None:
    """Nobody would stop the child any more: it saves its checkpoint and ends."""
    stand = Stand(tmp_path, PROGRESS, WAIT)
    running, log = process(stand)
    assert peer.until(lambda: 'step 3 of 6' in log.read_text())
    running.kill()
    running.wait()
    assert peer.until(lambda: not stand.runs())
    assert stand.said[1:] == ['interrupted']


def test_the_exit_code_is_that_of_the_verb(process: Any, tmp_path: Path) -> None:
    """Scripts and ``ros2 launch`` see how it went."""
    running, log = process(Stand(tmp_path, REFUSED, end=3))
    assert running.wait(TIMEOUT_S) == 3, log.read_text()
    assert 'not accepted: recall@1 fell' in log.read_text()


def test_a_mistake_of_the_real_verb_reaches_the_log(node_process: Any, tmp_path: Path) -> None:
    """The whole chain, up to the first error."""
    pytest.importorskip('torch', reason='the verb needs torch (train extra)')
    running = node_process(
        'compress.node', recipe=tmp_path / 'nowhere.yaml', images=tmp_path, out=tmp_path / 'out')
    assert running.wait() == 1, running.text
    assert f'failed: cannot read {tmp_path}/nowhere.yaml' in running.text
