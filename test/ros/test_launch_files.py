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
The launch files, run for real where launch is installed.

They find the package through an ament prefix made here, so the test needs no colcon build.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import importlib.util
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

import cv2
import launch_ros  # noqa: F401  (this repository's folder launch/ would pass for launch)
import pytest
from signals import popen_with_sigint

from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import ImageArray

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
WRAPPER = """#!{python}
import sys
from vpr_compressed.ros.{module} import main
sys.exit(main())
"""
LAUNCHER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [argument.split(':=', 1) for argument in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)]))
sys.exit(service.run())
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Return an ament prefix that holds this package as colcon would install it."""
    made = tmp_path / 'prefix'
    marker = made / 'share/ament_index/resource_index/packages'
    programs = made / 'lib/vpr_compressed'
    share = made / 'share/vpr_compressed'
    for folder in (marker, programs, share):
        folder.mkdir(parents=True)
    (marker / 'vpr_compressed').touch()
    for name in ('launch', 'config', 'rviz', 'package.xml'):
        (share / name).symlink_to(ROOT / name)
    for name, module in (('place_recognition', 'place_recognition.node'),
                         ('player', 'player.node'), ('compress', 'compress.node')):
        program = programs / name
        program.write_text(
            WRAPPER.format(python=sys.executable, module=module), encoding='utf-8')
        program.chmod(0o755)
    return made


@pytest.fixture
def launched(prefix: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Yield a function that starts a launch file with arguments."""
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str, **arguments: object) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / f'launch{len(running)}.log'
        script = tmp_path / 'launcher.py'
        script.write_text(LAUNCHER, encoding='utf-8')
        paths = os.pathsep.join(filter(None, [str(prefix), os.environ.get('AMENT_PREFIX_PATH')]))
        with log.open('wb') as output:
            running.append(popen_with_sigint(
                [sys.executable, str(script), str(ROOT / 'launch' / f'{name}.launch.py'),
                 *(f'{key}:={value}' for key, value in arguments.items())],
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, 'PYTHONPATH': str(ROOT), 'AMENT_PREFIX_PATH': paths,
                     'ROS_LOG_DIR': str(tmp_path / 'log'), 'OMP_NUM_THREADS': '1'}))
        return running[-1], log

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def description(path: Path) -> Any:
    """Return what a launch file generates."""
    spec = importlib.util.spec_from_file_location(path.stem.replace('.', '_'), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_is_described(path: Path) -> None:
    """``ros2 launch -s`` is the manual."""
    from launch.actions import DeclareLaunchArgument

    arguments = [entity for entity in description(path).entities
                 if isinstance(entity, DeclareLaunchArgument)]
    wanted = {'recipe', 'images', 'topic', 'data', 'out', 'nice'} if (
        path.name == 'compress.launch.py') else {
            'map_path', 'model_path', 'image_transport', 'rviz'}
    assert wanted <= {argument.name for argument in arguments}
    assert all(len(argument.description) > 8 for argument in arguments)
    assert 'no description' not in str([argument.description for argument in arguments])


def test_recognition_starts_with_the_arguments_on_top_of_the_yaml(
    launched: Any, peer: Any, tmp_path: Path, tiny_model_path: Path
) -> None:
    """Empty arguments keep the YAML values; ctrl-C ends it cleanly."""
    params = tmp_path / 'mine.yaml'
    params.write_text('/**:\n  ros__parameters:\n    mode: slam\n    recognizer:\n'
                      '      top_k: 7\n', encoding='utf-8')
    process, log = launched(
        'place_recognition', params_file=params, model_path=tiny_model_path,
        image_topic='/front/image', image_transport='compressed', namespace='robot')
    assert peer.until(lambda: 'active in mode' in log.read_text()), log.read_text()
    said = log.read_text()
    assert 'active in mode slam, waiting for /front/image/compressed' in said
    assert 'recognizer.top_k: 7' in said
    assert '/robot/place_recognition' in [
        f'{space.rstrip("/")}/{name}' for name, space in peer.get_node_names_and_namespaces()]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, log.read_text()
    assert 'Traceback' not in log.read_text()


def test_mapping_writes_a_map(
    launched: Any, peer: Any, tmp_path: Path, tiny_model_path: Path
) -> None:
    """Its YAML asks for poses from the topic."""
    path = tmp_path / 'walk.map'
    process, log = launched('mapping', map_path=path, model_path=tiny_model_path,
                            image_topic='/image')
    assert peer.until(lambda: 'active in mode mapping' in log.read_text()), log.read_text()
    assert "pose_source: 'topic_pose'" in log.read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, log.read_text()
    with PlaceMap.open(path) as place_map:
        assert len(place_map) == 0


def test_replay_maps_a_folder_and_ends_by_itself(
    launched: Any, tmp_path: Path, tiny_model_path: Path, places: list[ImageArray]
) -> None:
    """Then the same folder is recognised, image by image."""
    folder = tmp_path / 'walk'
    folder.mkdir()
    for number, image in enumerate(places):
        cv2.imwrite(str(folder / f'{number}.png'), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    common = {'source': folder, 'rate': 0.0, 'map_path': tmp_path / 'walk.map',
              'model_path': tiny_model_path}
    process, log = launched('replay', mode='mapping', **common)
    assert process.wait(90) == 0, log.read_text()
    with PlaceMap.open(tmp_path / 'walk.map') as place_map:
        assert len(place_map) == len(places)
    record = tmp_path / 'answers.jsonl'
    process, log = launched('replay', record_path=record, **common)
    assert process.wait(90) == 0, log.read_text()
    assert len(record.read_text(encoding='utf-8').splitlines()) == len(places)
    assert '0 unanswered' in log.read_text()
    assert (tmp_path / 'answers.node.json').is_file()


def test_compress_ends_with_the_reason(launched: Any, tmp_path: Path) -> None:
    """Arguments reach the verb, and the launch ends with the node."""
    recipe = tmp_path / 'nowhere.yaml'
    process, log = launched('compress', recipe=recipe, images=tmp_path, out=tmp_path / 'out',
                            nice=5, seed=3, overrides='a=1')
    process.wait(120)
    said = log.read_text()
    assert f'nice 5: {sys.executable} -m vpr_compressed compress' in said
    assert '--seed 3 --set a=1' in said
    assert 'failed: ' in said
    assert 'the compression has ended' in said or 'process has died' in said
