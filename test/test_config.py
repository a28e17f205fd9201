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

"""The bounds of a setting are stated once, and hold whichever way its value comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vpr_compressed.config import Bounded
from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.config import read_yaml
from vpr_compressed.config import required
from vpr_compressed.errors import ConfigError

NAN, INF = float('nan'), float('inf')


@dataclass(frozen=True, kw_only=True)
class Settings(Bounded):
    """One field for each kind of bound."""

    share: float = option(0.5, 'both ends', minimum=0.0, maximum=1.0)
    count: int = option(1, 'one end', minimum=1)
    least: float = option(-1.0, 'the other end', maximum=0.0)
    scale: float = option(1.0, 'an open end', above=0.0)
    gain: float = option(1.0, 'an open and a closed end', above=0.0, maximum=2.0)
    free: float = option(0.0, 'no bound')
    maybe: float | None = option(None, 'none is allowed', minimum=0.0)
    kind: str = option('a', 'a choice', choices=('a', 'b'))
    three: tuple[float, float, float] = option((1.0, 1.0, 1.0), 'each item', above=0.0)


@dataclass(frozen=True, kw_only=True)
class Span(Bounded):
    """Has a check of its own beside the bounds."""

    low: int = required('smaller', minimum=0)
    high: int = required('larger', minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise ConfigError(f'low must be below high, got {self.low} and {self.high}')


def from_yaml(folder: Path) -> Callable[..., Settings]:
    """Return what builds settings through a file."""
    def build(**values: Any) -> Settings:
        path = folder / 'settings.yaml'
        path.write_text(''.join(
            f'{name}: {str(value).replace("nan", ".nan").replace("inf", ".inf")}\n'
            for name, value in values.items()).replace('(', '[').replace(')', ']'))
        return config_from_mapping(Settings, read_yaml(path))
    return build


@pytest.fixture(params=['directly', 'from a mapping', 'from a file'])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Settings]:
    """Return each way a configuration can be made."""
    return {'directly': Settings, 'from a file': from_yaml(tmp_path),
            'from a mapping': lambda **values: config_from_mapping(Settings, values),
            }[request.param]


@pytest.mark.parametrize('values', [
    {'share': 0.0}, {'share': 1.0}, {'count': 1}, {'least': 0.0}, {'scale': 0.001}, {'gain': 2.0},
    {'free': -1000.0}, {'maybe': 0.0}, {'kind': 'b'}, {'three': (0.001, 2.0, 3.0)}])
def test_a_value_at_its_bound_is_taken(
    build: Callable[..., Settings], values: dict[str, Any]
) -> None:
    """Bounds belong to what is allowed, except those that say "above"."""
    made = build(**values)
    for name, value in values.items():
        assert getattr(made, name) == value


@pytest.mark.parametrize(('values', 'message'), [
    ({'share': -0.01}, r'share is -0.01, it must lie in \[0.0, 1.0\]'),
    ({'share': 1.01}, r'share is 1.01, it must lie in \[0.0, 1.0\]'),
    ({'share': NAN}, r'share is nan, it must lie in \[0.0, 1.0\]'),
    ({'count': 0}, 'count is 0, it must be at least 1'),
    ({'least': 0.01}, r'least is 0.01, it must be at most 0.0'),
    ({'least': -INF}, r'least is -inf, it must be at most 0.0'),
    ({'scale': 0.0}, r'scale is 0.0, it must be above 0.0'),
    ({'scale': INF}, r'scale is inf, it must be above 0.0'),
    ({'gain': 0.0}, r'gain is 0.0, it must lie in \(0.0, 2.0\]'),
    ({'free': NAN}, 'free is nan, it must be finite'),
    ({'maybe': -1.0}, r'maybe is -1.0, it must be at least 0.0'),
    ({'kind': 'c'}, "kind is 'c'; choose one of 'a', 'b'"),
    ({'three': (1.0, 0.0, 1.0)}, r'three is \(1.0, 0.0, 1.0\), it must be above 0.0'),
])
def test_a_value_outside_is_refused_with_field_value_and_bounds(
    build: Callable[..., Settings], values: dict[str, Any], message: str
) -> None:
    """Also what is not a number, which no comparison finds."""
    with pytest.raises(ConfigError, match=message):
        build(**values)


@pytest.mark.parametrize('values', [
    {'share': 'half'}, {'count': True}, {'scale': (1.0, 'b')}, {'three': (1.0, 'b', 1.0)}])
def test_a_value_of_another_type_is_refused(
    build: Callable[..., Settings], values: dict[str, Any]
) -> None:
    """The error names the field."""
    with pytest.raises(ConfigError, match=rf'{next(iter(values))}.* must be'):
        build(**values)


@pytest.mark.parametrize(('low', 'high', 'message'), [
    (-1, 3, 'low is -1, it must be at least 0'), (3, 3, 'low must be below high')])
def test_bounds_come_before_checks_between_fields(low: int, high: int, message: str) -> None:
    """A field that has no default has bounds as well."""
    with pytest.raises(ConfigError, match=message):
        Span(low=low, high=high)
    with pytest.raises(ConfigError, match=message):
        config_from_mapping(Span, {'low': low, 'high': high})


def test_a_field_without_default_must_be_given() -> None:
    """The error names it."""
    with pytest.raises(ConfigError, match=r"Span is incomplete.*'high'"):
        config_from_mapping(Span, {'low': 1})
