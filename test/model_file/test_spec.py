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

"""Network specifications: JSON both ways and no impossible network."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict

import pytest
from tiny_model import make_tiny_spec

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec


def test_specification_survives_json() -> None:
    """A network is rebuilt from its JSON without loss."""
    import json

    spec = make_tiny_spec()
    assert config_from_mapping(NetworkSpec, json.loads(json.dumps(asdict(spec)))) == spec


def test_tensor_shapes_follow_channels_and_groups() -> None:
    """Depthwise layers have one input channel per filter; the projection sees K * C values."""
    shapes = make_tiny_spec().tensor_shapes()
    assert shapes['stem.weight'] == (8, 3, 5, 5)
    assert shapes['deep.weight'] == (8, 1, 3, 3)
    assert shapes['projection.weight'] == (16, 4 * 8)
    assert 'pool.weight' not in shapes
    assert make_tiny_spec().parameters() == sum(
        [8 * 3 * 25 + 8, 8 * 9 + 8, 64 + 8, 4 * 8 + 4 + 4 * 8, 16 * 32 + 16])


@pytest.mark.parametrize(('change', 'message'), [
    ({'layers': ()}, 'needs layers'),
    ({'clusters': 0}, 'clusters is 0, it must be at least 1'),
    ({'layers': (Layer(name='a', op='conv', inputs=('b',), channels=4),)}, "layer 'a' uses"),
    ({'layers': (Layer(name='a', op='max_pool', inputs=('image',), channels=4),)},
     'cannot turn 3 channels into 4'),
])
def test_impossible_networks_are_refused(change: dict[str, object], message: str) -> None:
    """A specification is checked when it is made."""
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(make_tiny_spec(), **change)


def test_unknown_operation_is_refused() -> None:
    """Only the operations every engine knows exist."""
    with pytest.raises(ConfigError, match='swish'):
        Layer(name='a', op='conv', inputs=('image',), channels=1, activation='swish')
