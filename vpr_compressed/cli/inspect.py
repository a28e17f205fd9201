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

# flake8: noqa: A005

"""Show what is in a model or map file."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
import json
from pathlib import Path
import time
from typing import Any
from typing import TYPE_CHECKING

from vpr_compressed.errors import VprError
from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.model_file.report import TensorReport

EPILOG = """\
examples:
  vpr_compressed inspect                        the model in the package
  vpr_compressed inspect site.vprmap            sessions, places and bytes of a map
  vpr_compressed inspect model.vpr --json       everything, for a program
  vpr_compressed inspect model.vpr --check      does it compute here what it computed when made?
  vpr_compressed inspect --memory               what a node with this model holds, and what for

The kind of file is found by looking into it."""
SQLITE_MAGIC = b'SQLite format 3\0'


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument(
        'file', type=Path, nargs='?',
        help='model or map file, or "small" for that model of the package; its default model if '
             'left out')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument(
        '--check', action='store_true',
        help='run a model on its reference images too; exit status 1 if its descriptors differ')
    parser.add_argument(
        '--memory', action='store_true',
        help='load a model as the node does, in a process of its own, and show what each part '
             'adds to its memory; rclpy only where it is installed')
    parser.add_argument(
        '--engine', default='auto', help='inference engine for --memory')
    parser.add_argument(
        '--places', type=int, default=10_000, metavar='N', help='places in the map for --memory')


def run(args: Namespace) -> None:
    """Print the description of the file."""
    from vpr_compressed.model_file.model import find_model

    path = find_model(args.file)
    if is_map(path):
        if args.check or args.memory:
            raise VprError(f'{path} is a map; --check and --memory need a model')
        facts = describe_map(path)
    else:
        facts = describe_model(path)
        if args.check:
            facts['check'] = check_model(path)
        if args.memory:
            from vpr_compressed.offline.measuring.memory_stages import measure_memory

            facts = {'kind': 'model', 'path': str(path),
                     'memory': measure_memory(path, args.engine, max(0, args.places))}
    print(json.dumps(facts, indent=2) if args.json else as_text(facts))
    if args.check:
        _judge(facts['check'], path)


def is_map(path: Path) -> bool:
    """
    Return whether a file is a map (an SQLite database) and not a model.

    :raises VprError: if it cannot be read
    """
    try:
        with path.open('rb') as stream:
            return stream.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError as error:
        raise VprError(
            f'cannot read {path}: {error.strerror}; give a .vpr model or a .vprmap map file'
        ) from error


def describe_model(path: Path) -> dict[str, Any]:
    """
    Return the facts of a model file.

    :raises ModelFileError: not a model, or damaged
    """
    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.model_file.report import file_report

    model = read_model(path)
    report = file_report(path)
    spec = model.spec
    return {
        'kind': 'model', 'path': str(path), 'bytes': report.file_bytes,
        'entropy_bound_bytes': report.bound_bytes,
        'over_bound_percent': 100 * (report.file_bytes / report.bound_bytes - 1),
        'symbol_bound_bytes': report.symbol_bound_bytes,
        'precision': model.precision, 'activation_ranges': len(model.activations),
        'reference_descriptors': 0 if model.reference is None else len(model.reference),
        'descriptor_id': model.descriptor_id,
        'trunk': spec.trunk, 'layers': len(spec.layers), 'clusters': spec.clusters,
        'dimension': spec.dimension, 'parameters': spec.parameters(),
        'preprocessing': model.preprocessing.to_json(),
        'calibration': model.calibration.to_json(), 'provenance': dict(model.provenance),
        'tensors': [_tensor(row) for row in report.tensors]}


def check_model(path: Path) -> dict[str, Any]:
    """
    Load a model, run the default engine on its reference images and compare.

    :returns: milliseconds to read the file and to prepare the engine, and the lowest cosine to
        the descriptors in the file; None if it holds none
    :raises VprError: if the file cannot be loaded
    """
    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.runtime.engines import ENGINES
    from vpr_compressed.runtime.parity import check_parity

    started = time.perf_counter()
    model = read_model(path)
    read = time.perf_counter()
    engine = ENGINES.load(model)
    ready = time.perf_counter()
    return {
        'engine': engine.name, 'read_ms': 1e3 * (read - started),
        'engine_ms': 1e3 * (ready - read), 'lowest_cosine': check_parity(model, engine)}


def _judge(check: dict[str, Any], path: Path) -> None:
    """Raise unless the descriptors are those of the file."""
    from vpr_compressed.runtime.parity import LEAST_COSINE

    found = check['lowest_cosine']
    if found is None:
        raise VprError(
            f'{path} holds no reference descriptors to check against; models written by '
            'vpr_compressed compress do')
    if not found >= LEAST_COSINE:
        raise VprError(
            f'{path} gives other descriptors here than where it was made: cosine {found:.4f}, '
            f'at least {LEAST_COSINE} is needed; do not use it with {check["engine"]} on this '
            'machine')


def _tensor(row: TensorReport) -> dict[str, Any]:
    """Return one row of the table of tensors."""
    symbols = row.distinct
    return {
        'name': row.name, 'shape': list(row.shape), 'dtype': row.dtype, 'coding': row.coding,
        'symbols': symbols,
        'bits': max(1, (symbols - 1).bit_length()) if symbols else int(row.dtype[-2:]),
        'zeros_percent': round(100 * row.zeros, 2), 'bytes': row.stored_bytes,
        'bound_bytes': round(row.bound_bytes, 1)}


def describe_map(path: Path) -> dict[str, Any]:
    """
    Return the facts of a map file.

    :raises MapFileError: not a map, or damaged
    """
    from vpr_compressed.place_map.place_map import PlaceMap

    place_map = PlaceMap.open(path)
    try:
        keyframes = place_map.keyframes()
        sessions = []
        for number, name in place_map.sessions().items():
            own = [keyframe for keyframe in keyframes if keyframe.session == number]
            stamps = [keyframe.stamp_ns for keyframe in own]
            sessions.append({
                'session': number, 'name': name, 'places': len(own),
                'with_pose': sum(keyframe.pose is not None for keyframe in own),
                'first_stamp_ns': min(stamps, default=None),
                'last_stamp_ns': max(stamps, default=None)})
        return {
            'kind': 'map', 'path': str(path), 'bytes': path.stat().st_size,
            'places': len(place_map), 'dimension': place_map.dimension,
            'descriptor_id': place_map.descriptor_id, 'model_name': place_map.model_name,
            'descriptor_dtype': place_map.descriptor_dtype,
            'written_by': f'vpr_compressed {place_map.package_version}',
            'bytes_per_place': place_map.bytes_per_place, 'index_bytes': place_map.index_bytes,
            'thumbnail_bytes': place_map.thumbnail_bytes,
            'sessions': sessions}
    finally:
        place_map.close()


def as_text(facts: dict[str, Any]) -> str:
    """Return the facts as lines and tables for people."""
    lines = []
    for key, value in facts.items():
        label = key.replace('_', ' ')
        if isinstance(value, list):
            lines += ['', f'{label}:', *_table(value)]
        elif isinstance(value, dict):
            lines += ['', f'{label}:', *_pairs(value, '  ')]
        else:
            lines.append(f'{label:<22} {_value(key, value)}')
    return '\n'.join(lines)


def _pairs(values: dict[str, Any], indent: str) -> list[str]:
    """Return a mapping as indented lines."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f'{indent}{key}:', *_pairs(value, f'{indent}  ')]
        else:
            lines.append(f'{indent}{key:<16} {_value(key, value)}')
    return lines


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Return equal mappings as an aligned table."""
    if not rows:
        return ['  none']
    heads = [key.removesuffix('_ns').replace('_', ' ') for key in rows[0]]
    cells = [[_value(key, value) for key, value in row.items()] for row in rows]
    widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    return [
        '  ' + '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in [heads, *cells]]


def _value(key: str, value: Any) -> str:
    """Return one value as people read it."""
    if value is None:
        return '-'
    if key.endswith('bytes') and isinstance(value, (int, float)):
        return terminal.human_bytes(value)
    if key.endswith('stamp_ns'):
        return f'{value / 1e9:.3f} s'
    if isinstance(value, float):
        return f'{value:.6g}'
    if isinstance(value, list):
        return ' x '.join(map(str, value)) if all(
            isinstance(item, int) for item in value) else ', '.join(map(str, value))
    return f'{value:,}' if key == 'parameters' else str(value)
