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


"""Packaging: one version, every import declared for pip and for rosdep, every file installed."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
import re
import runpy
import sys
from typing import Any
from xml.etree import ElementTree

import pytest

import vpr_compressed

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'vpr_compressed'

# import name -> (requirement for pip, key for rosdep); '' where there is none
THIRD_PARTIES = {
    'cv2': ('opencv-python-headless', 'python3-opencv'),
    'faiss': ('faiss-cpu', 'python3-faiss'),
    'matplotlib': ('matplotlib', 'python3-matplotlib'),
    'numpy': ('numpy', 'python3-numpy'),
    'onnx': ('onnx', ''),
    'onnxruntime': ('onnxruntime', 'python3-onnxruntime-pip'),
    'psutil': ('psutil', 'python3-psutil'),
    'rosbags': ('rosbags', 'python3-rosbags-pip'),
    'tqdm': ('tqdm', 'python3-tqdm'),
    'yaml': ('PyYAML', 'python3-yaml'),
}
# The workshop's, never a node's: the extra "offline" for pip, a key for rosdep.
OFFLINE = {'jinja2': ('Jinja2', 'python3-jinja2')}
# Needed to train, never on a robot: extras for pip, nothing for rosdep.
TRAINING = {'torch', 'torchvision', 'safetensors'}
# Engines and readers a robot may have: extras of their own names.
OPTIONAL = {'openvino', 'scipy', 'utm'}
ROS_PACKAGES = re.compile(r'rclpy|launch|launch_ros|ament_index_python|\w+_(msgs|srvs|interfaces)')
# rclpy's wheel brings them.
NO_WHEEL_OF_THEIR_OWN = {'builtin_interfaces', 'rcl_interfaces', 'rclpy'}
# Imported by name when a parameter asks for TF, and by clients that switch the node's state.
# Not asked for: Python's own modules and this package.
NOT_FOREIGN = {*sys.stdlib_module_names, 'vpr_compressed'}
NOT_SEEN_IN_IMPORTS = {'lifecycle_msgs', 'tf2_ros_py'}


@pytest.fixture(scope='module')
def manifest() -> ElementTree.Element:
    """Return package.xml."""
    return ElementTree.parse(ROOT / 'package.xml').getroot()


@pytest.fixture(scope='module')
def setup_arguments() -> dict[str, Any]:
    """Return what setup.py hands to setuptools."""
    setuptools = pytest.importorskip('setuptools')
    captured: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, 'setup', lambda **arguments: captured.update(arguments))
        runpy.run_path('setup.py')
    return captured


def requirement_names(requirements: list[str]) -> set[str]:
    """Strip versions and extras off requirements."""
    return {re.split(r'[\[<>=!~; ]', requirement)[0] for requirement in requirements}


@cache
def imported_tops(*folders: str) -> list[tuple[str, Path]]:
    """Return each foreign top-level import name with the file that imports it."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob('*.py')):
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [str(node.module)]
                tops = {name.partition('.')[0] for name in names}
                found += [(top, path) for top in sorted(tops - NOT_FOREIGN)]
    return found


def test_there_is_one_version_number(
        manifest: ElementTree.Element, setup_arguments: dict[str, Any]) -> None:
    """The package, pip, ROS and the change log agree."""
    version = vpr_compressed.__version__
    assert re.fullmatch(r'\d+\.\d+\.\d+', version)
    assert manifest.findtext('version') == version
    assert setup_arguments['version'] == version
    changes = (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8')
    newest = re.search(r'^(\d+\.\d+\.\d+|Forthcoming)\b', changes, re.MULTILINE)
    assert newest is not None
    assert newest.group(1) in (version, 'Forthcoming')


def test_name_licence_and_people_agree(
        manifest: ElementTree.Element, setup_arguments: dict[str, Any]) -> None:
    """Two files tell the same story."""
    assert manifest.get('format') == '3'
    assert manifest.findtext('export/build_type') == 'ament_python'
    assert manifest.findtext('name') == setup_arguments['name'] == 'vpr_compressed'
    assert manifest.findtext('license') == setup_arguments['license'] == 'Apache-2.0'
    maintainer = manifest.find('maintainer')
    assert maintainer is not None
    assert maintainer.text == setup_arguments['maintainer']
    assert maintainer.get('email') == setup_arguments['maintainer_email']


def test_every_import_is_declared_for_pip_and_rosdep(
        manifest: ElementTree.Element, setup_arguments: dict[str, Any]) -> None:
    """A clean machine gets what the code imports, whichever way it installs."""
    needed = requirement_names(setup_arguments['install_requires'])
    extras = {name: requirement_names(requirements)
              for name, requirements in setup_arguments['extras_require'].items()}
    keys = {node.text for node in manifest.findall('exec_depend')}
    for top, path in imported_tops('vpr_compressed', 'launch'):
        if ROS_PACKAGES.fullmatch(top):
            assert top in keys, f'{path.name} imports {top}, package.xml does not list it'
        elif top in TRAINING:
            assert top in extras['train'], (
                f'{path.name} imports {top}, the extra "train" lacks it')
        elif top in OPTIONAL:
            assert top in extras[top]
        elif top in OFFLINE:
            requirement, key = OFFLINE[top]
            assert path.is_relative_to(PACKAGE / 'offline'), f'{path} imports {top}'
            assert all(requirement in extras[name] for name in ('offline', 'train', 'dev'))
            assert key in keys, f'package.xml does not list {key}'
        else:
            assert top in THIRD_PARTIES, f'{path.name} imports {top}: enter it into THIRD_PARTIES'
            requirement, key = THIRD_PARTIES[top]
            assert requirement in needed, f'setup.py does not require {requirement}'
            assert not key or key in keys, f'package.xml does not list {key}'


def test_nothing_is_required_that_no_code_imports(
        manifest: ElementTree.Element, setup_arguments: dict[str, Any]) -> None:
    """Old requirements cost every robot time and space."""
    tops = {top for top, _ in imported_tops('vpr_compressed', 'launch')}
    wanted = {requirement for top, (requirement, _) in THIRD_PARTIES.items() if top in tops}
    assert requirement_names(setup_arguments['install_requires']) == wanted
    keys = {key for top, (_, key) in {**THIRD_PARTIES, **OFFLINE}.items() if top in tops and key}
    ros = {top for top in tops if ROS_PACKAGES.fullmatch(top)}
    listed = {node.text for node in manifest.findall('exec_depend')} - NOT_SEEN_IN_IMPORTS
    assert listed == (keys | ros) - NOT_SEEN_IN_IMPORTS


def test_run_time_requires_nothing_of_training(setup_arguments: dict[str, Any]) -> None:
    """A robot does not pay for torch."""
    offline = {requirement for requirement, _ in OFFLINE.values()}
    assert not requirement_names(setup_arguments['install_requires']) & (
        TRAINING | OPTIONAL | offline)


@pytest.mark.parametrize('distribution', ['kilted', 'jazzy'])
def test_the_wheels_cover_the_interfaces(
        distribution: str, setup_arguments: dict[str, Any]) -> None:
    """Each message package the nodes import is pinned in the extra of the distribution."""
    extra = setup_arguments['extras_require'][f'ros-{distribution}']
    assert all('==' in requirement for requirement in extra)
    names = requirement_names(extra)
    assert 'ros-rclpy' in names
    for top, _ in imported_tops('vpr_compressed/ros'):
        if ROS_PACKAGES.fullmatch(top) and top not in NO_WHEEL_OF_THEIR_OWN:
            assert f'ros-{distribution}-{top.replace("_", "-")}' in names


def test_every_entry_point_is_a_function(setup_arguments: dict[str, Any]) -> None:
    """Looked up in the source, so that no ROS 2 is needed."""
    for script in setup_arguments['entry_points']['console_scripts']:
        name, target = re.fullmatch(r'(\w+) = ([\w.]+:\w+)', script).groups()
        module, function = target.split(':')
        tree = ast.parse((ROOT / f'{module.replace(".", "/")}.py').read_text(encoding='utf-8'))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in functions, f'{name} points to {target}, which is missing'


def test_every_node_has_an_entry_point(setup_arguments: dict[str, Any]) -> None:
    """``ros2 run vpr_compressed <name>`` finds ``<name>/node.py`` or ``<name>_node.py``."""
    scripts = setup_arguments['entry_points']['console_scripts']
    folder = PACKAGE / 'ros'
    nodes = [path.relative_to(folder).with_suffix('').as_posix().replace('/', '.')
             for path in (*folder.glob('*/node.py'), *folder.glob('*_node.py'))]
    assert len(nodes) >= 4
    for node in nodes:
        name = node.removesuffix('.node').removesuffix('_node')
        assert f'{name} = vpr_compressed.ros.{node}:main' in scripts


def test_share_files_are_installed_where_ros_looks(setup_arguments: dict[str, Any]) -> None:
    """Launch files, configurations and views keep their folders; the index marker is there."""
    installed = {source: target for target, sources in setup_arguments['data_files']
                 for source in sources}
    assert installed.pop('resource/vpr_compressed') == (
        'share/ament_index/resource_index/packages')
    assert installed.pop('package.xml') == 'share/vpr_compressed'
    present = {path.relative_to(ROOT).as_posix() for folder in ('config', 'launch', 'rviz')
               for path in (ROOT / folder).rglob('*')
               if path.is_file() and '__pycache__' not in path.parts}
    assert set(installed) == present
    for source, target in installed.items():
        assert target == f'share/vpr_compressed/{Path(source).parent.as_posix()}'


def test_model_files_and_type_marker_travel_with_the_package(
        setup_arguments: dict[str, Any]) -> None:
    """The packaged model is what every command uses when none is given."""
    patterns = setup_arguments['package_data']['vpr_compressed']
    packaged = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert PACKAGE / 'py.typed' in packaged
    assert set(PACKAGE.glob('models/*')) <= packaged
    templates = set((PACKAGE / 'offline/reports/templates').iterdir())
    assert templates
    assert templates <= packaged


def test_all_sub_packages_are_found(setup_arguments: dict[str, Any]) -> None:
    """A folder without ``__init__.py`` would be missing after the installation."""
    folders = {'.'.join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob('*.py')}
    assert set(setup_arguments['packages']) == folders


def test_dependencies_are_named_once(manifest: ElementTree.Element) -> None:
    """A package listed twice hides a condition."""
    for kind in ('exec_depend', 'test_depend'):
        names = [node.text for node in manifest.findall(kind)]
        assert len(names) == len(set(names))


def test_scripts_are_installed_where_ros2_run_looks() -> None:
    """With underscores: setuptools refuses the old spelling with dashes."""
    text = (ROOT / 'setup.cfg').read_text(encoding='utf-8')
    assert '[develop]\nscript_dir=$base/lib/vpr_compressed\n' in text
    assert '[install]\ninstall_scripts=$base/lib/vpr_compressed\n' in text
