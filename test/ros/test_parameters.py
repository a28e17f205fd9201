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

"""Parameters come from the dataclasses, and whatever is wrong with them is said at configure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError
from vpr_compressed.ros.parameters import ParameterGroup
from vpr_compressed.ros.parameters import ParameterSet


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Options of a made-up node."""

    transport: str = option('raw', 'how images travel', choices=('raw', 'compressed'))
    gain: float = option(1.0, 'gain without a unit', minimum=0.0, maximum=8.0)
    timeout_s: float = option(2.0, 'timeout in seconds', minimum=0.1, runtime=True)


@dataclass(frozen=True, kw_only=True)
class Votes:
    """Two options that depend on each other."""

    window: int = option(5, 'frames that vote', minimum=1)
    needed: int = option(3, 'votes needed', minimum=1)

    def __post_init__(self) -> None:
        """Refuse more votes than voters."""
        if self.needed > self.window:
            raise ConfigError(f'{self.needed} votes of {self.window} frames')


GROUPS = (ParameterGroup(Camera), ParameterGroup(Votes, 'votes.', changeable=True))


@pytest.fixture
def declared(context: Context) -> Iterator[Any]:
    """Yield a maker of parameter sets with these start values."""
    nodes: list[Node] = []

    def make(**values: object) -> tuple[Node, ParameterSet]:
        overrides = [Parameter(name.replace('__', '.'), value=value)
                     for name, value in values.items()]
        nodes.append(Node('made_up', context=context, parameter_overrides=overrides))
        return nodes[-1], ParameterSet(nodes[-1], GROUPS)

    yield make
    for node in nodes:
        node.destroy_node()


def test_every_field_is_a_described_parameter(declared: Any) -> None:
    """``ros2 param describe`` shows the words and ranges of the dataclass."""
    node, _ = declared()
    gain = node.describe_parameter('gain')
    assert gain.description == 'gain without a unit'
    assert gain.read_only
    assert gain.floating_point_range[0].to_value == 8.0
    window = node.describe_parameter('votes.window')
    assert not window.read_only
    assert window.integer_range[0].from_value == 1
    assert window.integer_range[0].to_value > 10**9
    assert 'raw, compressed' in node.describe_parameter('transport').additional_constraints
    assert not node.describe_parameter('timeout_s').read_only


def test_start_values_fill_the_configurations(declared: Any) -> None:
    """And 2 is a good enough 2.0."""
    _, parameters = declared(transport='compressed', gain=2, votes__window=9)
    camera, votes = parameters.configs()
    assert camera == Camera(transport='compressed', gain=2.0)
    assert votes == Votes(window=9)
    assert isinstance(camera.gain, float)


@pytest.mark.parametrize(('values', 'message'), [
    ({'transport': 'theora'}, "transport is 'theora'; choose one of 'raw', 'compressed'"),
    ({'gain': 9.0}, r'gain is 9.0, it must lie in \[0.0, 8.0\]'),
    ({'gain': 'loud'}, "gain must be float, got str 'loud'"),
    ({'votes__window': True}, 'votes.window must be int, got bool'),
    ({'votes__window': 2}, r'votes.*3 votes of 2 frames'),
    ({'transprot': 'raw'}, "no parameter 'transprot', did you mean 'transport'"),
    ({'votes__windw': 4}, "no parameter 'votes.windw', did you mean 'votes.window'"),
])
def test_a_wrong_start_value_is_refused_in_words(
    declared: Any, values: dict[str, object], message: str
) -> None:
    """The constructor survives it: a lifecycle node reports at configure."""
    _, parameters = declared(**values)
    with pytest.raises(ConfigError, match=message):
        parameters.configs()


def test_two_options_are_checked_together_only_when_both_are_known(declared: Any) -> None:
    """A window of 2 is fine when 2 votes are enough, whatever is declared first."""
    _, parameters = declared(votes__window=2, votes__needed=2)
    assert parameters.configs()[1] == Votes(window=2, needed=2)


def test_parameters_of_rclpy_itself_are_no_typos(declared: Any) -> None:
    """Overrides of QoS and simulated time are declared by rclpy, some of them later."""
    name = 'qos_overrides./image.subscription.reliability'
    _, parameters = declared(use_sim_time=False, **{name: 'reliable'})
    assert parameters.configs() == (Camera(), Votes())


def test_a_change_is_judged_with_the_other_values(declared: Any) -> None:
    """Window 4 goes with 3 votes, window 2 does not."""
    _, parameters = declared()
    _, votes = parameters.changed([Parameter('votes.window', value=4)])
    assert votes == Votes(window=4)
    with pytest.raises(ConfigError, match='3 votes of 2'):
        parameters.changed([Parameter('votes.window', value=2)])


def test_the_summary_names_every_value(declared: Any) -> None:
    """It is logged once, so that a log tells how the node was set up."""
    _, parameters = declared(gain=0.5)
    assert "  transport: 'raw'" in parameters.summary().splitlines()
    assert '  gain: 0.5' in parameters.summary().splitlines()
