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
from collections.abc import Mapping
import importlib.util
import json
from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'vpr_compressed'
MODULES = sorted(PACKAGE.rglob('*.py'))

# From the bottom; a part imports itself and lower parts only. Parts of one level stand side by
# side, so neither `ros` and `cli` nor `runtime` and `sources` can import each other.
ORDER = (
    ('errors', 'records'),
    ('config', 'system'),
    ('model_file', 'place_map'),
    ('decision',),
    ('images',),
    ('runtime', 'sources'),
    ('recognizer',),
    # The workshop: networks, training, accuracy, reports. A robot carries none of it.
    ('offline', 'offline.network', 'offline.accuracy', 'offline.mapping'),
    ('offline.datasets',),
    ('offline.measuring',),
    ('offline.reports',),
    ('offline.training', 'offline.live', 'offline.calibration'),
    ('offline.importers',),
    ('offline.compression',),
    ('offline.demo',),
    ('cli', 'ros'),
    ('__main__',),
)
LEVELS = {part: level for level, parts in enumerate(ORDER) for part in parts}
# Third parties that one part hides from the others.
CONFINED = {
    'faiss': {'place_map.index'},
    'jinja2': {'offline.reports'},
    'matplotlib': {'offline.reports', 'offline.demo'},
    'onnx': {'runtime', 'offline.network'},
    'onnxruntime': {'runtime'},
    'openvino': {'runtime'},
    'rclpy': {'ros'},
    'rosbags': {'sources'},
    'safetensors': {'offline'},
    'scipy': {'offline'},
    'sqlite3': {'place_map'},
    'torch': {'cli', 'offline'},
    'torchvision': {'offline'},
    'tqdm': {'system.terminal'},
    'utm': {'sources.satellite'},
}
ROBOT_NEVER_LOADS = (
    # pkg_resources would look for the names of the pip packages, which apt does not have.
    'pkg_resources', 'torch', 'torchvision', 'matplotlib', 'safetensors', 'scipy', 'utm', 'tqdm',
    'jinja2', 'vpr_compressed.offline', 'vpr_compressed.cli',
)
#: A module of this package in a text: for `python -m`, `import_module` or a program as text.
NAMED = re.compile(r'\bvpr_compressed((?:\.\w+)+)')


def module_name(path: Path) -> str:
    """Return the dotted name of a file below the package, '' for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


NAMES = {module_name(path) for path in MODULES}
each_module = pytest.mark.parametrize(
    'path', MODULES, ids=lambda path: module_name(path) or '__init__')


def part_of(name: str) -> str:
    """Return the part of :data:`ORDER` a module belongs to."""
    words = name.split('.')
    part = '.'.join(words[:2 if words[0] == 'offline' else 1])
    if part not in LEVELS:
        pytest.fail(f'vpr_compressed.{name} has no level yet: enter {part} into ORDER')
    return part


def imported_names(path: Path) -> Iterator[str]:
    """Yield the dotted names a file imports, also in functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path} has a relative import in line {node.lineno}'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """Return the modules of this package a file imports, '' for the package itself."""
    found = set()
    for name in imported_names(path):
        top, _, rest = name.partition('.')
        if top == 'vpr_compressed':
            while rest not in NAMES:  # what is imported from a module is no module
                rest = rest.rpartition('.')[0]
            found.add(rest)
    return found


def named_modules(path: Path) -> set[str]:
    """Return the modules of this package that stand in texts of a file, docstrings left out."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {name[1:] for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and node not in docstrings for name in NAMED.findall(node.value)}


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the sets of nodes that reach each other, after Tarjan (1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for target in sorted(edges[node]):
            if target not in index:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in stack:
                lowest[node] = min(lowest[node], index[target])
        if lowest[node] == index[node]:
            place = stack.index(node)
            if len(stack) > place + 1 or node in edges[node]:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found() -> None:
    """Two, three, one with a tail, and a module that imports itself."""
    edges = {'a': {'b'}, 'b': {'a', 'c'}, 'c': {'d'}, 'd': {'e'}, 'e': {'c'}, 'f': {'f'},
             'g': {'a', 'h'}, 'h': set()}
    assert sorted(circles(edges)) == [['a', 'b'], ['c', 'd', 'e'], ['f']]


def test_no_two_files_import_each_other() -> None:
    """Directly or through others, at the top or late."""
    assert circles({module_name(path): own_imports(path) for path in MODULES}) == []


@each_module
def test_imports_point_downwards(path: Path) -> None:
    """A part imports itself and lower parts; nothing but workshop and command line the former."""
    name = module_name(path)
    if not name:
        assert not own_imports(path), 'the package itself must import nothing of its own'
        return
    part = part_of(name)
    for target in own_imports(path) - {''}:
        below = part_of(target)
        assert below == part or LEVELS[below] < LEVELS[part], f'{name} imports {target}'
        assert may_use(part, below), f'{name} imports {target}, which no robot has'


@each_module
def test_names_of_modules_in_texts_point_downwards_too(path: Path) -> None:
    """A program started by its name, or imported by it, is an edge that no import shows."""
    name = module_name(path)
    part = part_of(name) if name else ''
    for target in named_modules(path):
        below = part_of(target)
        assert may_use(part, below), f'{name} names {target}, which no robot has'
        # Nodes run in processes of their own, and only the workshop starts them.
        assert part.startswith(('offline', 'cli')) or below == part or (
            LEVELS[below] < LEVELS[part]), f'{name} names {target}'


def may_use(part: str, other: str) -> bool:
    """Tell whether a part may know another one: the workshop is the workshop's and the verbs'."""
    return not other.startswith('offline') or part.startswith(('offline', 'cli'))


def test_the_top_level_shows_what_a_robot_runs() -> None:
    """Packages, and at most six modules."""
    modules = [path.name for path in PACKAGE.glob('*.py') if not path.name.startswith('__')]
    assert len(modules) <= 6, modules


@each_module
def test_third_parties_stay_where_they_belong(path: Path) -> None:
    """Each library has one door, so it can be replaced or be absent."""
    name = module_name(path)
    for imported in imported_names(path):
        top = imported.partition('.')[0]
        allowed = {'ros'} if top.endswith(('_msgs', '_srvs', '_interfaces')) else CONFINED.get(top)
        if allowed is not None:
            fitting = {part for part in allowed if name == part or name.startswith(f'{part}.')}
            assert fitting, f'{name} imports {top}, which belongs into {sorted(allowed)}'


@each_module
def test_types_are_imported_like_anything_else(path: Path) -> None:
    """
    Where an import must hide from the interpreter, there is a circle or a wrong place.

    Only verbs may hide the types of the workshop, or ``--help`` would wait for it.
    """
    if not module_name(path).startswith('cli.'):
        assert 'TYPE_CHECKING' not in path.read_text(encoding='utf-8')


@each_module
def test_the_workshop_knows_torch_wherever_it_loads_a_model(path: Path) -> None:
    """``load_extractor`` of the run-time wing knows a robot's engines only."""
    name = module_name(path)
    if name.startswith(('offline', 'cli')) and name != 'offline.network.engines':
        assert not {*imported_names(path)} & {
            f'vpr_compressed.runtime.extractor.{function}'
            for function in ('load_extractor', 'resolve_engine')}


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


@each_module
def test_files_and_functions_stay_readable(path: Path) -> None:
    """At most 350 lines a file and 60 lines a function."""
    text = path.read_text(encoding='utf-8')
    assert text.count('\n') <= 350, f'{path.name} has {text.count(chr(10))} lines: split it'
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 60, f'{node.name} has {lines} lines: extract a step'
