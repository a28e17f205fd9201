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

"""
Strict loading of frozen dataclasses from mappings and YAML; knows no concrete configuration.

Every configuration in this package is a frozen, keyword-only dataclass whose fields carry
their help text in ``metadata['doc']``, and their bounds beside it. The command line, the YAML
files and the ROS parameters are all made from those fields, so a default exists in exactly one
place; :class:`Bounded` checks the bounds, however a configuration is made.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import difflib
import functools
import math
from numbers import Real
from pathlib import Path
import types
import typing
from typing import Any
from typing import TypeVar

from vpr_compressed.errors import ConfigError

ConfigT = TypeVar('ConfigT')


def option(default: Any, doc: str, **metadata: Any) -> Any:
    """
    Declare a configuration field with its help text.

    :param default: default value
    :param doc: one sentence for ``--help`` and ``ros2 param describe``, with the unit
    :param metadata: bounds, for each item of a tuple: ``minimum``, ``above`` (exclusive),
        ``maximum``; all allowed values: ``choices``; further facts for whoever reads them
    :returns: a dataclass field
    """
    return dataclasses.field(default=default, metadata={'doc': doc, **metadata})


def required(doc: str, **metadata: Any) -> Any:
    """Declare a field that has no default; otherwise as :func:`option`."""
    return option(dataclasses.MISSING, doc, **metadata)


class Bounded:
    """
    Base of a dataclass whose values lie within the bounds that its fields state.

    A subclass with checks of its own calls ``super().__post_init__()`` before them.

    :raises ConfigError: naming field, value and bounds
    """

    def __post_init__(self) -> None:
        described: Any = self  # typeshed wants a dataclass
        for field in dataclasses.fields(described):
            check_range(field.name, getattr(self, field.name), field.metadata)


def suggest(key: str, known: typing.Iterable[str]) -> str:
    """Return ``', did you mean ...?'`` for a probable typo, else the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1)
    return f', did you mean {close[0]!r}?' if close else f'; known: {", ".join(names)}'


def config_from_mapping(config_type: type[ConfigT], values: Mapping[str, object]) -> ConfigT:
    """
    Build a configuration and refuse unknown keys, wrong types and values out of range.

    :param config_type: a dataclass type
    :param values: field name -> value; lists become tuples where the field is a tuple
    :returns: the configuration
    :raises ConfigError: with a suggestion for a misspelt key
    """
    described: Any = config_type  # any dataclass type; typeshed wants an instance's
    fields = {field.name: field for field in dataclasses.fields(described)}
    hints = _type_hints(config_type)  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f'{config_type.__name__} has no field {key!r}{suggest(str(key), fields)}')
        checked[key] = _convert(f'{config_type.__name__}.{key}', value, hints[key])
        check_range(key, checked[key], fields[key].metadata)
    try:
        return config_type(**checked)
    except TypeError as error:
        raise ConfigError(f'{config_type.__name__} is incomplete: {error}') from error


def check_range(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """
    Refuse a value outside the bounds of its field, and a number that is not finite.

    :param metadata: as :func:`option` takes it; None is within all bounds
    :raises ConfigError: naming the allowed values
    """
    choices = metadata.get('choices')
    if choices is not None and value not in choices:
        raise ConfigError(f'{name} is {value!r}; choose one of {", ".join(map(repr, choices))}')
    low, above, high = (metadata.get(key) for key in ('minimum', 'above', 'maximum'))
    for item in value if isinstance(value, tuple) else (value,):
        if _is_number(item):
            if not ((-math.inf < item < math.inf) and (low is None or item >= low)
                    and (above is None or item > above) and (high is None or item <= high)):
                raise ConfigError(f'{name} is {value}, it must {_in_words(low, above, high)}')
        elif item is not None and (low, above, high) != (None, None, None):
            raise ConfigError(f'{name} is {value!r}, it must be a number')


def read_yaml(path: Path) -> Any:
    """
    Read a YAML file of plain data.

    :raises ConfigError: when the file is missing or is not YAML
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'cannot read {path}: {error.strerror}') from error
    except yaml.YAMLError as error:
        raise ConfigError(f'{path} is not valid YAML: {error}') from error


def _is_number(value: object) -> bool:
    """Tell whether a value is a number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _in_words(low: object, above: object, high: object) -> str:
    """Return what a number must do to lie within bounds; None is no bound."""
    if high is not None and (low is not None or above is not None):
        return f'lie in {f"[{low}" if above is None else f"({above}"}, {high}]'
    words = [f'{text} {bound}' for text, bound in (
        ('at least', low), ('above', above), ('at most', high)) if bound is not None]
    return f'be {words[0] if words else "finite"}'


@functools.cache
def _type_hints(config_type: type) -> dict[str, Any]:
    """Return the types of the fields; to look them up takes milliseconds, each time."""
    return typing.get_type_hints(config_type)


def _convert(name: str, value: object, hint: Any) -> Any:
    """Return ``value`` as the type ``hint`` wants, or raise ConfigError."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(name, value, typing.get_args(hint))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return config_from_mapping(typing.cast('type[Any]', hint), value)
    if origin is tuple and isinstance(value, (list, tuple)):
        return _convert_tuple(name, value, typing.get_args(hint))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    plain = origin or hint
    wrong_bool = isinstance(value, bool) and plain is not bool
    if plain is Any or (isinstance(plain, type) and isinstance(value, plain) and not wrong_bool):
        return value
    wanted = getattr(hint, '__name__', str(hint))
    raise ConfigError(f'{name} must be {wanted}, got {type(value).__name__} {value!r}')


def _convert_union(name: str, value: object, options: tuple[Any, ...]) -> Any:
    """Return ``value`` as the first of several types it fits."""
    if value is None and type(None) in options:
        return None
    problems = []
    for choice in options:
        if choice is not type(None):
            try:
                return _convert(name, value, choice)
            except ConfigError as error:
                problems.append(str(error))
    raise ConfigError('; '.join(problems))


def _convert_tuple(
    name: str, value: list[object] | tuple[object, ...], items: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return a list as the tuple the field declares."""
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_convert(f'{name}[{i}]', v, items[0]) for i, v in enumerate(value))
    if len(items) != len(value):
        raise ConfigError(f'{name} needs {len(items)} values, got {len(value)}')
    return tuple(
        _convert(f'{name}[{i}]', v, hint) for i, (v, hint) in enumerate(zip(value, items)))
