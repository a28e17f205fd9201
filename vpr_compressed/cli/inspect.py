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
from typing import Any

from vpr_compressed.system import terminal

EPILOG = """\
examples:
  vpr_compressed inspect                        the model in the package
  vpr_compressed inspect site.vprmap            sessions, places and bytes of a map
  vpr_compressed inspect model.vpr --json       everything, for a program
  vpr_compressed inspect model.vpr --check      does it compute here what it computed when made?
  vpr_compressed inspect --memory               what a node with this model holds, and what for

The kind of file is found by looking into it."""


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
    """Print the facts of the file."""
    from vpr_compressed.offline.measuring import inspection

    facts = inspection.inspect_file(
        args.file, check=args.check,
        memory_with=(args.engine, max(0, args.places)) if args.memory else None)
    print(json.dumps(facts, indent=2) if args.json else as_text(facts))
    if args.check:
        inspection.refuse_other_descriptors(facts)


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
    width = max([16, *map(len, values)])
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f'{indent}{key}:', *_pairs(value, f'{indent}  ')]
        else:
            lines.append(f'{indent}{key:<{width}} {_value(key, value)}')
    return lines


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Return equal mappings as an aligned table."""
    if not rows:
        return ['  none']
    heads = [key.removesuffix('_ns').replace('_', ' ') for key in rows[0]]
    cells = [[_value(key, value) for key, value in row.items()] for row in rows]
    return [f'  {line}' for line in terminal.columns([heads, *cells], left=len(heads))]


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
