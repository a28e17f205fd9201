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


"""Architecture: who may import whom, what stays off the robot, and how large parts may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import importlib.util
import json
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'vpr_compressed'
MODULES = sorted(PACKAGE.rglob('*.py'))

# The run-time wing, from the bottom. A part imports itself and lower parts only; `ros` and `cli`
# stand side by side, so neither can import the other.
LEVELS = {
    'errors': 0, 'records': 0,
    'config': 1, 'system': 1,
    'consistency': 2, 'model_file': 2, 'place_map': 2,
    'images': 3,
    'runtime': 4, 'sources': 4,
    'recognizer': 5,
    'offline': 6,
    'cli': 7, 'ros': 7,
    '__main__': 8,
}
# The workshop wing: training, accuracy, reports. A robot carries none of it.
MAY_IMPORT_OFFLINE = {'cli', 'offline'}
# Third parties that one part hides from the others.
CONFINED = {
    'faiss': {'place_map.index'},
    'matplotlib': {'offline.reports', 'offline.demo'},
    'onnx': {'runtime', 'offline.network'},
    'onnxruntime': {'runtime'},
    'openvino': {'runtime'},
    'rclpy': {'ros'},
    'rosbags': {'sources'},
    'safetensors': {'cli', 'offline'},
    'scipy': {'offline'},
    'sqlite3': {'place_map'},
    'torch': {'cli', 'offline'},
    'torchvision': {'offline'},
    'tqdm': {'cli', 'offline', 'system.terminal'},
    'utm': {'sources.satellite'},
}
ROBOT_NEVER_LOADS = (
    # pkg_resources would look for the names of the pip packages, which apt does not have.
    'pkg_resources', 'torch', 'torchvision', 'matplotlib', 'safetensors', 'scipy', 'utm',
    'vpr_compressed.offline.compression',
    'vpr_compressed.offline', 'vpr_compressed.cli', 'vpr_compressed.offline.network.network',
)


def module_name(path: Path) -> str:
    """Return the dotted name of a file below the package, '' for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


def part_of(name: str) -> str:
    """Return the part of :data:`LEVELS` a module belongs to, the first word of its name."""
    part = name.partition('.')[0]
    if part not in LEVELS:
        pytest.fail(f'vpr_compressed.{name} has no level yet: enter it into LEVELS')
    return part


def imported_names(path: Path) -> Iterator[str]:
    """Yield the dotted names a file imports, also those inside functions."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path} has a relative import in line {node.lineno}'
            yield str(node.module)
            if node.module == 'vpr_compressed' or (PACKAGE.parent / str(
                    node.module).replace('.', '/')).is_dir():
                yield from (f'{node.module}.{alias.name}' for alias in node.names)


def own_imports(path: Path) -> Iterator[str]:
    """Yield the parts of this package a file imports."""
    for name in imported_names(path):
        top, _, rest = name.partition('.')
        if top == 'vpr_compressed' and rest and not rest.startswith('__version__'):
            yield part_of(rest)


@pytest.mark.parametrize('path', MODULES, ids=lambda path: module_name(path) or '__init__')
def test_imports_point_downwards(path: Path) -> None:
    """A part imports itself and lower parts; only the command line imports offline ones."""
    name = module_name(path)
    if not name:
        assert not list(own_imports(path)), 'the package itself must import nothing of its own'
        return
    part = part_of(name)
    for target in own_imports(path):
        assert target == part or LEVELS[target] < LEVELS[part], f'{name} imports {target}'
        if target == 'offline':
            assert part in MAY_IMPORT_OFFLINE, f'{name} imports {target}, which no robot has'


def test_the_top_level_shows_what_a_robot_runs() -> None:
    """Packages, and at most six modules."""
    modules = [path.name for path in PACKAGE.glob('*.py') if not path.name.startswith('__')]
    assert len(modules) <= 6, modules


@pytest.mark.parametrize('path', MODULES, ids=lambda path: module_name(path) or '__init__')
def test_third_parties_stay_where_they_belong(path: Path) -> None:
    """Each library has one door, so it can be replaced or be absent."""
    name = module_name(path)
    for imported in imported_names(path):
        top = imported.partition('.')[0]
        allowed = {'ros'} if top.endswith(('_msgs', '_srvs', '_interfaces')) else CONFINED.get(top)
        if allowed is not None:
            fitting = {part for part in allowed if name == part or name.startswith(f'{part}.')}
            assert fitting, f'{name} imports {top}, which belongs into {sorted(allowed)}'


def loaded_modules(statement: str, *arguments: str) -> set[str]:
    """Run a statement in a fresh interpreter and return the modules it has loaded."""
    code = f'import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))'
    result = subprocess.run(
        [sys.executable, '-c', code, *arguments], cwd=ROOT, capture_output=True, text=True,
        timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def assert_fit_for_a_robot(loaded: set[str]) -> None:
    """Fail when a package that costs more memory than the network has been loaded."""
    heavy = loaded.intersection(ROBOT_NEVER_LOADS)
    assert not heavy, f'the robot would load {sorted(heavy)}'


@pytest.mark.parametrize('module', ['recognizer', 'runtime.extractor', 'sources'])
def test_the_run_time_path_stays_light(module: str) -> None:
    """Importing torch alone costs about 220 MB of resident memory."""
    if importlib.util.find_spec(f'vpr_compressed.{module}') is None:
        pytest.fail(f'vpr_compressed.{module} is missing')
    assert_fit_for_a_robot(loaded_modules(f'import vpr_compressed.{module}'))


def test_describing_an_image_stays_light(tiny_model_path: Path) -> None:
    """Nothing heavy is imported late either, with the default engine."""
    statement = (
        'from pathlib import Path\nimport numpy\n'
        'from vpr_compressed.runtime.extractor import load_extractor\n'
        'load_extractor(Path(sys.argv[1])).describe(numpy.zeros((48, 64, 3), numpy.uint8))')
    assert_fit_for_a_robot(loaded_modules(statement, str(tiny_model_path)))


@pytest.mark.ros
@pytest.mark.parametrize('module', ['place_recognition.node', 'player.node', 'compress.node'])
def test_the_nodes_stay_light(module: str) -> None:
    """The node is the robot's process."""
    pytest.importorskip('rclpy')
    assert_fit_for_a_robot(loaded_modules(f'import vpr_compressed.ros.{module}'))


def test_the_command_line_starts_light() -> None:
    """``--help`` and typing errors must not wait for torch or plotting."""
    loaded = loaded_modules('import vpr_compressed.cli.main')
    heavy = loaded.intersection({'torch', 'torchvision', 'matplotlib', 'onnxruntime', 'faiss'})
    assert not heavy, f'the command line loads {sorted(heavy)} before it has parsed anything'


@pytest.mark.parametrize('path', MODULES, ids=lambda path: module_name(path) or '__init__')
def test_files_and_functions_stay_readable(path: Path) -> None:
    """At most 350 lines a file and 60 lines a function."""
    text = path.read_text(encoding='utf-8')
    assert text.count('\n') <= 350, f'{path.name} has {text.count(chr(10))} lines: split it'
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 60, f'{node.name} has {lines} lines: extract a step'
