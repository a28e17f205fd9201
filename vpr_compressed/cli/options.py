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

"""What several verbs share: help layout, model and source arguments, progress bar."""

from __future__ import annotations

from argparse import _ActionsContainer
from argparse import Action
from argparse import ArgumentParser
from argparse import ArgumentTypeError
from argparse import HelpFormatter
from argparse import Namespace
import dataclasses
import math
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from vpr_compressed.config import ConfigT

if TYPE_CHECKING:
    from vpr_compressed.sources import ImageSource


class HelpLayout(HelpFormatter):
    """Keep the line breaks of the examples, and show each default that says something."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=99)
        # argparse forgets the indentation of sub-commands and would break their lines.
        self._action_max_length = 18

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        del width  # the lines are broken where the author broke them
        return ''.join(indent + line for line in text.splitlines(keepends=True))

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ''
        silent = action.default in (None, False, '==SUPPRESS==') or not action.option_strings
        return text if silent or '(default' in text else f'{text} (default: %(default)s)'


def add_model_arguments(parser: ArgumentParser, *, several: bool = False) -> None:
    """
    Add which model runs and how.

    :param several: ``--model`` may be repeated and gives a list
    """
    group = parser.add_argument_group('model')
    more = '; repeat it to compare several' if several else ''
    group.add_argument(
        '--model', type=Path, metavar='FILE.vpr', action='append' if several else 'store',
        help='model file, or small: the smaller one in the package (default: its default '
             f'model){more}')
    group.add_argument(
        '--engine', default='auto',
        help='inference engine: onnxruntime, openvino, opencv or torch; auto: the fastest here '
             'that agrees with the model file')
    group.add_argument(
        '--threads', type=int, default=0, metavar='N',
        help='threads of the engine, 0 for its own choice')


def add_rate_argument(parser: _ActionsContainer) -> None:
    """Add the image rate of folders, which carry no time."""
    parser.add_argument(
        '--rate-hz', type=positive, default=2.0, metavar='HZ',
        help='images per second of a folder without poses.csv')


def add_config_arguments(
    parser: _ActionsContainer, config_type: type[Any], *names: str
) -> None:
    """
    Add an option for each field of a configuration; its bounds are checked when it is made.

    :param config_type: a dataclass whose fields have a default that is a truth value or a number
    :param names: the fields wanted, none for all
    """
    for field in dataclasses.fields(config_type):
        if names and field.name not in names:
            continue
        flag, text = f'--{field.name.replace("_", "-")}', field.metadata['doc']
        if isinstance(field.default, bool):
            parser.add_argument(flag, action='store_true', help=text)
        else:
            parser.add_argument(
                flag, type=type(field.default), default=field.default, help=text,
                metavar='N' if isinstance(field.default, int) else 'X')


def config_from(args: Namespace, config_type: type[ConfigT]) -> ConfigT:
    """
    Return the configuration of :func:`add_config_arguments`.

    :raises ConfigError: a value lies outside of its bounds
    """
    described: Any = config_type  # typeshed wants a dataclass
    return config_type(**{
        field.name: getattr(args, field.name) for field in dataclasses.fields(described)
        if hasattr(args, field.name)})


def stretch(text: str) -> tuple[int, int]:
    """Return the first image of a stretch ``A:B`` and the one after its last, for argparse."""
    first, found, end = text.partition(':')
    if not (found and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise ArgumentTypeError(
            f'{text!r} is no stretch of images; give the first and the one after the last, such '
            'as 100:150')
    return int(first), int(end)


def positive(text: str) -> float:
    """Return a finite number above zero, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ArgumentTypeError(f'{text!r} is not a positive number')
    return value


def not_negative(text: str) -> float:
    """Return a finite number of at least zero, for argparse."""
    return 0.0 if text.strip('+0.') == '' and '0' in text else positive(text)


def whole_number(text: str, *, least: int) -> int:
    """Return a whole number of at least ``least``, for argparse."""
    if not text.isdecimal() or int(text) < least:
        raise ArgumentTypeError(f'{text!r} is not a whole number from {least}')
    return int(text)


def add_pose_arguments(parser: _ActionsContainer) -> None:
    """Add where the poses of a bag come from."""
    parser.add_argument(
        '--pose-topic', metavar='T', help='topic of the bag with Odometry, PoseStamped, '
        'PoseWithCovarianceStamped or NavSatFix; a folder has poses.csv instead')
    parser.add_argument(
        '--utm-zone', metavar='ZONE', help='zone of the UTM grid that NavSatFix positions are '
        'given on, such as 32N (default: zone of the first fix)')


def source_from(
    args: Namespace, path: Path, topic: str | None, *, utm_zone: str | None = None
) -> ImageSource:
    """
    Open the source of a verb that has ``--pose-topic`` and ``--rate-hz``.

    :param utm_zone: zone of the positions of a NavSatFix topic, None for that of its first fix
    """
    from vpr_compressed.sources import open_source

    return open_source(
        path, topic=topic, pose_topic=args.pose_topic, rate_hz=args.rate_hz, utm_zone=utm_zone)
