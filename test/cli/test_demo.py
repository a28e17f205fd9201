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


"""The verb ``demo``: arguments, clear errors, and a small run over real DDS."""

from __future__ import annotations

from argparse import Namespace
from contextlib import closing
from dataclasses import fields
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import cv2
import psutil
import pytest

from vpr_compressed.cli import demo
from vpr_compressed.cli.main import main
from vpr_compressed.cli.main import make_parser
from vpr_compressed.errors import VprError
from vpr_compressed.offline.demo.session import DemoConfig
from vpr_compressed.offline.live import ros_processes
from vpr_compressed.offline.live.ros_processes import RosProcess

DOMAIN = os.environ.get('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
LIMIT_S = 120.0


def parse(*arguments: str) -> Namespace:
    """Parse a demo command line."""
    return make_parser('demo').parse_args(['demo', *arguments])


def script(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module that stands in for a node and return its name."""
    (folder / f'{name}.py').write_text(text, encoding='utf-8')
    monkeypatch.setenv('PYTHONPATH', str(folder))
    return name


def test_demo_needs_no_arguments() -> None:
    """Without any, the made-up town is shown, and out/demo gets what comes of it."""
    args = parse()
    assert args.out == Path('out/demo')
    config = DemoConfig(out=args.out)
    assert config.made_up
    assert [len(source) for source in config.sources()] == [125, 150]
    for field in fields(DemoConfig):
        assert getattr(args, field.name) == getattr(config, field.name)


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--reference', 'walk1'], 'both --reference and --query'),
    (['--query', 'walk2'], 'both --reference and --query'),
    (['--domain-id', '102'], r'\[0, 101\]'),
    (['--tolerance-frames', '-1'], 'must not be negative'),
])
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    """The text names what is needed."""
    with pytest.raises(VprError, match=message):
        demo.run(parse(*arguments))


def test_missing_rclpy_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has to guess why there is no ROS."""
    monkeypatch.setattr(ros_processes, 'find_spec', lambda name: None)
    assert main(['demo', '--out', str(tmp_path / 'out')]) == 1
    error = capsys.readouterr().err
    assert 'rclpy is not installed' in error
    assert 'make setup' in error
    assert not (tmp_path / 'out').exists()


def test_missing_model_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error comes at once and names the option."""
    monkeypatch.setattr(ros_processes, 'find_spec', lambda name: object())
    assert main(['demo', '--out', str(tmp_path), '--model', str(tmp_path / 'no.vpr')]) == 1
    assert '--model' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nodes_talk_on_this_computer_only(tmp_path: Path) -> None:
    """Own domain, local discovery, and the profile under both of its names."""
    environment = ros_processes.node_environment(87, tmp_path)
    assert environment['ROS_DOMAIN_ID'] == '87'
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    for name in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
        assert '<segment_size>' in Path(environment[name]).read_text(encoding='utf-8')
    assert 0 < ros_processes.domain_of_this_run() <= 100


@pytest.mark.parametrize(('value', 'text'), [
    (True, 'true'), (0.0, '0.0'), (3, '3'), ('', "''"), (Path("/tmp/a b's"), "'/tmp/a b''s'"),
])
def test_parameters_keep_their_type_on_the_command_line(value: object, text: str) -> None:
    """A path stays a string, a float keeps its point, quotes are doubled."""
    assert ros_processes._yaml(value) == text


def test_process_that_dies_shows_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is in the error, not only in a file."""
    name = script(tmp_path, 'dying_node', 'raise SystemExit("the lens is dirty")', monkeypatch)
    process = RosProcess('the node', name, {}, environment=dict(os.environ),
                         log=tmp_path / 'node.log')
    with closing(process), pytest.raises(VprError, match=r'exit code 1(.|\n)*lens is dirty'):
        process.wait_for('active')


def test_process_that_ignores_being_asked_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No node outlives the demo."""
    monkeypatch.setattr(ros_processes, 'STOP_LIMIT_S', 0.5)
    name = script(
        tmp_path, 'stubborn_node', 'import signal, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint("active", flush=True)\n'
        'time.sleep(600)\n', monkeypatch)
    process = RosProcess('the node', name, {}, environment=dict(os.environ),
                         log=tmp_path / 'node.log')
    with closing(process):
        process.wait_for('active')
    assert process.ended()


def test_player_is_not_waited_for_when_the_node_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is about the node, and comes soon."""
    waiting = script(tmp_path, 'waiting', 'import time\ntime.sleep(600)\n', monkeypatch)
    dying = script(tmp_path, 'dying', 'raise SystemExit("out of memory")', monkeypatch)
    environment = dict(os.environ)
    node = RosProcess('the node', dying, {}, environment=environment, log=tmp_path / 'n.log')
    player = RosProcess('the player', waiting, {}, environment=environment,
                        log=tmp_path / 'p.log')
    with closing(node), closing(player), pytest.raises(VprError, match='out of memory'):
        player.wait_beside(node, lambda done: None)
    assert player.ended()


@pytest.mark.ros
def test_own_folders_are_mapped_and_recognised_over_dds(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real node answers every image; table, picture and answers are there."""
    pytest.importorskip('rclpy')
    code = main([
        'demo', '--reference', str(walks / 'day'), '--query', str(walks / 'night_bag'),
        '--tolerance-frames', '1', '--out', str(tmp_path), '--model', str(tiny_model_path),
        '--domain-id', DOMAIN, '--threads', '1'])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert '12 mapped into 12 places, 12 looked up' in shown
    assert 'right within 1 images' in shown
    lines = (tmp_path / 'localization.jsonl').read_text(encoding='utf-8').splitlines()
    answers = [json.loads(line) for line in lines]
    assert len(answers) == 12
    assert all(answer['rows'] for answer in answers)
    assert cv2.imread(str(tmp_path / 'demo_order.png')).shape[1] == 1080


@pytest.mark.ros
def test_damaged_model_is_explained_by_the_log_of_the_node(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The node refuses it; the demo passes on what the node said."""
    pytest.importorskip('rclpy')
    damaged = tmp_path / 'damaged.vpr'
    damaged.write_bytes(tiny_model_path.read_bytes()[:500])
    walk = str(walks / 'day')
    assert main(['demo', '--reference', walk, '--query', walk, '--out', str(tmp_path / 'out'),
                 '--model', str(damaged), '--domain-id', DOMAIN]) == 1
    error = capsys.readouterr().err
    assert 'place_recognition node ended with exit code 1' in error
    assert 'cannot configure' in error


@pytest.mark.ros
@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_no_process_behind(
    sent: signal.Signals, walks: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    """Ctrl-C and a plain kill end the nodes too."""
    pytest.importorskip('rclpy')
    many = tmp_path / 'many'
    many.mkdir()
    for number in range(2000):
        shutil.copy(walks / 'day' / f'{number % 12}.png', many / f'{number}.png')
    process = subprocess.Popen(
        [sys.executable, '-m', 'vpr_compressed', 'demo', '--reference', str(many), '--query',
         str(many), '--out', str(tmp_path), '--model', str(tiny_model_path), '--domain-id',
         DOMAIN], cwd=Path(demo.__file__).parents[2], stderr=subprocess.PIPE,
        # A CI that runs as a background job ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # noqa: PLW1509
    log = tmp_path / 'mapping_player.log'
    end_s = time.monotonic() + LIMIT_S
    while not (log.exists() and 'playing' in log.read_text(encoding='utf-8')):
        assert time.monotonic() < end_s
        assert process.poll() is None
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(sent)
    _, error = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert b'interrupted' in error
    assert psutil.wait_procs(children, timeout=LIMIT_S)[1] == []
