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

"""What is evaluated: two recordings with one of three kinds of right answers, or a data set."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path
import textwrap
from typing import TYPE_CHECKING

from vpr_compressed.cli import options
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.layouts import AUTO
from vpr_compressed.offline.datasets.layouts import LAYOUTS
from vpr_compressed.offline.datasets.layouts import open_dataset

if TYPE_CHECKING:
    from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
    from vpr_compressed.sources import ImageSource

CHOICE = (
    'say what counts as a right answer: --tolerance-frames N (walks aligned image by image), '
    '--radius-m R (recordings with positions), or --ground-truth FILE.json')
#: What only two recordings have, and what only a data set has: attribute of the arguments -> flag.
_RECORDINGS = {
    'reference': '--reference', 'query': '--query', 'reference_topic': '--reference-topic',
    'query_topic': '--query-topic', 'pose_topic': '--pose-topic', 'utm_zone': '--utm-zone',
    'ground_truth': '--ground-truth'}
_DATASET = {'layout': '--layout', 'split': '--split'}


def add_arguments(parser: ArgumentParser) -> None:
    """Add what is evaluated, and what counts as right."""
    recordings = parser.add_argument_group('two recordings (image folder or ROS bag)')
    recordings.add_argument(
        '--reference', type=Path, metavar='SRC', help='the walk that is mapped')
    recordings.add_argument(
        '--query', type=Path, metavar='SRC', help='the walk that is recognised')
    recordings.add_argument('--reference-topic', metavar='T', help='image topic of that bag')
    recordings.add_argument('--query-topic', metavar='T', help='image topic of that bag')
    options.add_pose_arguments(recordings)
    options.add_rate_argument(recordings)
    data_set = parser.add_argument_group('or a data set', layouts_text())
    data_set.add_argument(
        '--dataset', type=Path, metavar='DIR', help='its folder, as unpacked')
    data_set.add_argument(
        '--layout', choices=(AUTO, *LAYOUTS), metavar='NAME',
        help='a layout of the list above (default: recognised by its files)')
    data_set.add_argument(
        '--split', metavar='SPLIT', help='part of the data set (default: the one that is usually '
        'reported, such as test)')
    answers = parser.add_argument_group(
        'right answers (two recordings need one; a data set has its own)')
    truth = answers.add_mutually_exclusive_group()
    truth.add_argument(
        '--tolerance-frames', type=int, metavar='N', help='largest difference of the indices')
    truth.add_argument('--radius-m', type=float, metavar='R', help='largest distance in metres')
    truth.add_argument('--ground-truth', type=Path, metavar='FILE.json', help='listed answers')


def layouts_text() -> str:
    """Return the layouts of data sets, one after the other, in lines of 95 characters."""
    return 'layouts that are recognised:\n' + '\n'.join(
        textwrap.fill(
            f'{name:<9} {layout.tree}', 95, initial_indent='  ', subsequent_indent=' ' * 12,
            break_on_hyphens=False)
        for name, layout in LAYOUTS.items())


def open_pair(args: Namespace) -> Dataset:
    """
    Open what the command line names; no image is decoded.

    Positions of a NavSatFix topic are given on one grid for both recordings, that of the first
    fix of the reference if no zone is named.

    :raises ConfigError: neither or both of two recordings and a data set
    :raises DatasetError: the data set has no known layout, or lacks something
    :raises SourceError: a recording cannot be read
    :raises GroundTruthError: no right answers, or they do not fit the images
    """
    if args.dataset is not None:
        _refuse(args, _RECORDINGS, 'a data set brings its own images and answers')
        return open_dataset(
            args.dataset, layout=args.layout or AUTO, split=args.split, radius_m=args.radius_m,
            tolerance_frames=args.tolerance_frames)
    _refuse(args, _DATASET, 'they choose a part of a data set, give it with --dataset')
    if args.reference is None or args.query is None:
        raise ConfigError(
            'say what to evaluate: --reference SRC and --query SRC (two image folders or ROS '
            'bags), or --dataset DIR')
    reference = options.source_from(
        args, args.reference, args.reference_topic, utm_zone=args.utm_zone)
    query = options.source_from(
        args, args.query, args.query_topic,
        utm_zone=args.utm_zone or getattr(reference, 'utm_zone', None))
    return Dataset(
        name=f'{args.query.resolve().name} -> {args.reference.resolve().name}',
        layout='recordings', reference=reference, query=query,
        truth=truth_of_recordings(args, reference, query))


def truth_of_recordings(
    args: Namespace, reference: ImageSource, query: ImageSource
) -> GroundTruth:
    """
    Return the right answers that the command line asks for.

    :raises GroundTruthError: none asked for, or it does not fit the recordings
    """
    from vpr_compressed.offline.accuracy import ground_truth

    if args.tolerance_frames is not None:
        return ground_truth.from_tolerance(len(query), len(reference), args.tolerance_frames)
    if args.radius_m is not None:
        return ground_truth.from_positions(
            ground_truth.positions_of(query), ground_truth.positions_of(reference),
            args.radius_m)
    if args.ground_truth is not None:
        return ground_truth.from_file(args.ground_truth, len(query), len(reference))
    raise GroundTruthError(CHOICE)


def _refuse(args: Namespace, flags: dict[str, str], reason: str) -> None:
    """Refuse options that would be ignored."""
    given = [flag for name, flag in flags.items() if getattr(args, name) is not None]
    if given:
        raise ConfigError(f'{", ".join(given)}: {reason}; leave them out')
