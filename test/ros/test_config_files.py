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

"""The YAML files in config/ say what the code does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from vpr_compressed.config import read_yaml
from vpr_compressed.ros.compress.child import CompressConfig
from vpr_compressed.ros.parameters import ParameterGroup
from vpr_compressed.ros.place_recognition.node import GROUPS

CONFIG = Path(__file__).resolve().parents[2] / 'config'
#: The others belong to the recognition node.
COMPRESS_FILE = CONFIG / 'compress.yaml'
NODE_FILES = sorted(set(CONFIG.glob('*.yaml')) - {COMPRESS_FILE})


def parameters(path: Path) -> dict[str, Any]:
    """Return the parameters of a file with their full names."""
    def flat(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            found.update(flat(f'{prefix}{name}.', value) if isinstance(value, dict)
                         else {f'{prefix}{name}': value})
        return found

    content = read_yaml(path)
    assert list(content) == ['/**']
    assert list(content['/**']) == ['ros__parameters']
    return flat('', content['/**']['ros__parameters'])


def defaults() -> dict[str, Any]:
    """Return the default of every parameter of the node."""
    return {name: field.default for group in GROUPS for name, field in group.fields().items()}


@pytest.mark.parametrize('path', NODE_FILES, ids=lambda path: path.name)
def test_every_file_is_accepted_by_the_node(path: Path) -> None:
    """Known names, types as rclpy will see them, values in range; only the map is missing."""
    given, known = parameters(path), defaults()
    assert set(given) <= set(known)
    assert {name: type(value) for name, value in given.items()} == {
        name: type(known[name]) for name in given}
    values = {**given, 'map_path': '/tmp/some.map'}
    for group in GROUPS:
        assert dataclasses.is_dataclass(group.config(values))


def test_the_main_file_shows_every_parameter_with_its_default() -> None:
    """Copying it changes nothing, and nothing is left to look up."""
    assert parameters(CONFIG / 'place_recognition.yaml') == defaults()


def test_the_compress_file_shows_every_parameter_with_its_default() -> None:
    """In the types rclpy will see."""
    fields = ParameterGroup(CompressConfig).fields()
    given = parameters(COMPRESS_FILE)
    assert given == {name: field.default for name, field in fields.items()}
    assert all(type(given[name]) is type(field.default) for name, field in fields.items())


def test_every_parameter_is_described() -> None:
    """``ros2 param describe`` is the manual."""
    for group in (*GROUPS, ParameterGroup(CompressConfig)):
        assert isinstance(group, ParameterGroup)
        for name, field in group.fields().items():
            assert len(group.descriptor(field).description) > 10, name


def test_the_fast_dds_profile_has_room_for_large_images() -> None:
    """A 1080p rgb8 image takes 6.2 MB; several may be on their way."""
    tree = ElementTree.parse(CONFIG / 'fastdds_large_images.xml')
    space = '{http://www.eprosima.com}'
    sizes = [int(found.text or 0) for found in tree.iter(f'{space}segment_size')]
    assert sizes == [32 * 1024 * 1024]
    named = {found.text for found in tree.iter(f'{space}transport_id')}
    assert named == {'large_shared_memory', 'udp'}
