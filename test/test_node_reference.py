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

"""``docs/nodes.md`` says of every parameter what the code says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
import re

import pytest

from vpr_compressed.records import Status
from vpr_compressed.ros.compress.child import CompressConfig
from vpr_compressed.ros.parameters import ParameterGroup
from vpr_compressed.ros.place_recognition.node import GROUPS
from vpr_compressed.ros.player.node import PlayerConfig
from vpr_compressed.ros.relocalizer_node import RelocalizerConfig

TEXT = (Path(__file__).resolve().parents[1] / 'docs' / 'nodes.md').read_text(encoding='utf-8')
NODES = {
    'place_recognition': GROUPS,
    'relocalizer': (ParameterGroup(RelocalizerConfig),),
    'player': (ParameterGroup(PlayerConfig),),
    'compress': (ParameterGroup(CompressConfig),),
}


def section(node: str) -> str:
    """Return what the page says of a node."""
    return TEXT.partition(f'\n## {node}\n')[2].partition('\n## ')[0]


def as_yaml(value: object) -> str:
    """Return a default as one writes it into a parameter file."""
    if isinstance(value, bool):
        return str(value).lower()
    return "''" if value == '' else str(value)


@pytest.mark.parametrize('node', NODES)
def test_every_parameter_is_listed_with_its_default(node: str) -> None:
    """In the order of the code; and nothing that no longer exists."""
    table = section(node).rpartition('| parameter | default | |')[2]
    listed = re.findall(r'^\| `([\w.]+)` \| `([^`]*)` \|', table, re.MULTILINE)
    assert listed == [(name, as_yaml(field.default)) for group in NODES[node]
                      for name, field in group.fields().items()]


def test_every_status_of_a_row_is_listed_in_its_words() -> None:
    """The status of an empty map is in no row."""
    table = section('place_recognition').partition('| `status` | | what it means')[2]
    listed = re.findall(r'^\| (\d) \| ([^|]+) \|', table.partition('\n\n')[0], re.MULTILINE)
    assert listed == [(str(int(status)), status.words) for status in Status
                      if status is not Status.EMPTY_MAP]


def test_the_parameters_that_may_change_while_the_node_runs_are_named() -> None:
    """Single ones by name, whole groups by prefix."""
    said = ' '.join(section('place_recognition').split())
    listed = re.search(r'(`image_timeout_s`[^|]*?) can be changed while the node runs', said)
    assert listed is not None
    expected = [group.prefix for group in GROUPS if group.changeable]
    expected += [field.name for group in GROUPS for field in dataclasses.fields(group.config_type)
                 if field.metadata.get('runtime')]
    assert sorted(re.findall('`([^`]+)`', listed[1])) == sorted(expected)
