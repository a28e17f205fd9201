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


"""
Start the nodes of this package as processes of their own, watch them, and stop them.

The command line never imports rclpy: nodes are told what to do by parameters, their log goes to
a file, and what they found out is read from files they wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from contextlib import closing
from importlib.util import find_spec
import os
from pathlib import Path
import re
import subprocess
import sys
import time

import psutil

import vpr_compressed
from vpr_compressed.errors import VprError
from vpr_compressed.sources import ImageSource
from vpr_compressed.system import processes
from vpr_compressed.system import terminal

PROFILE_NAME = 'fastdds_large_images.xml'
NODE_MODULE = 'vpr_compressed.ros.place_recognition.node'
PLAYER_MODULE = 'vpr_compressed.ros.player.node'
START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0
_POLL_S = 0.1
_SHOWN_LINES = 12


def check_rclpy() -> None:
    """
    Make sure that nodes can be started.

    :raises VprError: no ROS 2 in this Python
    """
    if find_spec('rclpy') is None:
        raise VprError(
            f'rclpy is not installed for {sys.executable}; run "make setup" and use '
            '.venv/bin/python, or source a ROS 2 installation first: '
            'source /opt/ros/<distro>/setup.bash')


def domain_of_this_run() -> int:
    """Return a DDS domain other runs on this computer hardly ever use, 1 to 100."""
    return 1 + os.getpid() % 100


def node_environment(domain: int, log_folder: Path) -> dict[str, str]:
    """
    Return the environment of the nodes: this computer only, shared memory for whole images.

    :param domain: DDS domain
    :param log_folder: where ROS writes its own logs
    """
    profile = str(find_profile())
    environment = processes.environment(
        ROS_DOMAIN_ID=str(domain), ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST',
        # Kilted reads the first name, Humble and Jazzy the second.
        FASTDDS_DEFAULT_PROFILES_FILE=profile, FASTRTPS_DEFAULT_PROFILES_FILE=profile,
        ROS_LOG_DIR=str(log_folder), RCUTILS_COLORIZED_OUTPUT='0', PYTHONUNBUFFERED='1')
    if environment.get('ROS_DISTRO') == 'humble':
        environment['ROS_LOCALHOST_ONLY'] = '1'
    return environment


def find_profile() -> Path:
    """
    Return the Fast DDS profile that lets whole images through.

    :raises VprError: this installation lacks it
    """
    shares = [Path(prefix) / 'share' / 'vpr_compressed' for prefix in (
        *os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix) if prefix]
    source = Path(vpr_compressed.__file__).resolve().parents[1]
    for folder in (source, *shares):
        if (folder / 'config' / PROFILE_NAME).is_file():
            return folder / 'config' / PROFILE_NAME
    raise VprError(
        f'config/{PROFILE_NAME} is neither in {source} nor in an installed share folder; '
        'install the package again')


class RosProcess:
    """One node in a process of its own."""

    def __init__(self, name: str, module: str, parameters: Mapping[str, object], *,
                 environment: Mapping[str, str], log: Path) -> None:
        """
        Start it.

        :param name: for people
        :param module: with a ``main``, started by ``python -m``
        :param parameters: ROS parameter -> value
        :param log: file for all it says
        """
        self.name, self.log = name, log
        command = [sys.executable, '-m', module, '--ros-args']
        for key, value in parameters.items():
            command += ['-p', f'{key}:={_yaml(value)}']
        with log.open('wb') as output:
            self._process = processes.start(
                command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def text(self) -> str:
        """Return its log so far."""
        return self.log.read_text(encoding='utf-8', errors='replace')

    def failure(self) -> str:
        """Return in words that it ended, with the end of its log."""
        lines = self.text().splitlines()[-_SHOWN_LINES:]
        shown = '\n  '.join(lines) if lines else '(it said nothing)'
        return (f'{self.name} ended with exit code {self._process.poll()}; its log {self.log} '
                f'ends with\n  {shown}')

    def wait_for(self, text: str, limit_s: float = START_LIMIT_S) -> None:
        """
        Wait until it has said something.

        :raises VprError: it ended, or the time is up
        """
        end_s = time.monotonic() + limit_s
        while text not in self.text():
            if self._process.poll() is not None:
                raise VprError(self.failure())
            if time.monotonic() > end_s:
                raise VprError(
                    f'{self.name} did not get ready within {limit_s:g} s; see {self.log}')
            time.sleep(_POLL_S)

    def wait_beside(self, node: RosProcess, on_progress: Callable[[int], None]) -> None:
        """
        Wait until it has ended well, while another process has to stay alive.

        :param on_progress: called with the number of images it has reported
        :raises VprError: either of them failed
        """
        while self._process.poll() is None:
            if node.ended():
                raise VprError(node.failure())
            counts = re.findall(r'(\d+) of \d+ images', self.text())
            on_progress(int(counts[-1]) if counts else 0)
            time.sleep(_POLL_S)
        if self._process.returncode != 0:
            raise VprError(self.failure())

    def ended(self) -> bool:
        """Return whether it runs no more."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End it, first politely; does nothing when it has ended."""
        processes.stop(self._process, STOP_LIMIT_S)


def play(
    source: ImageSource, *, node: Mapping[str, object], player: Mapping[str, object],
    domain: int | None, out: Path, name: str, label: str
) -> int:
    """
    Run node and player until a whole recording is played.

    :param node: parameters of the place_recognition node, ``mode`` among them
    :param player: parameters of the player besides its source
    :param domain: ROS domain, None for one of its own
    :param out: folder for the logs, whose names begin with ``name``
    :param label: of the bar
    :returns: resident memory of the node in bytes, at the end
    :raises VprError: one of them failed; the text holds the end of its log
    """
    environment = node_environment(
        domain_of_this_run() if domain is None else domain, (out / f'{name}_ros_log').resolve())
    recogniser = RosProcess(
        'the place_recognition node', NODE_MODULE, {'image_timeout_s': 60.0, **node},
        environment=environment, log=out / f'{name}_node.log')
    with closing(recogniser):
        recogniser.wait_for(f'active in mode {node["mode"]}')
        playing = RosProcess(
            'the player', PLAYER_MODULE,
            {'source': source.path.resolve(), 'wait_for_subscriber_s': 30.0, **player},
            environment=environment, log=out / f'{name}_player.log')
        with closing(playing), terminal.progress(len(source), label) as bar:
            playing.wait_beside(recogniser, lambda done: bar.update(done - bar.n))
            bar.update(len(source) - bar.n)
        return int(psutil.Process(recogniser.pid).memory_info().rss)


def _yaml(value: object) -> str:
    """Return a parameter value as rclpy's command line reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"
