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

"""Measure one model or several on two recordings and write a report."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
import textwrap

from vpr_compressed.cli import options
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.layouts import AUTO
from vpr_compressed.offline.datasets.layouts import LAYOUTS
from vpr_compressed.offline.datasets.layouts import open_dataset
from vpr_compressed.sources import ImageSource

MAP_SUFFIX = '.vprmap'
#: A live report does not mix with another one in the default folder.
OUT, LIVE_OUT = Path('out/evaluate'), Path('out/live')
CHOICE = (
    'say what counts as a right answer: --tolerance-frames N (walks aligned image by image), '
    '--radius-m R (recordings with positions), or --ground-truth FILE.json')
#: What only two recordings have, and what only a data set has.
_RECORDINGS = ('reference', 'query', 'reference_topic', 'query_topic', 'pose_topic', 'utm_zone',
               'ground_truth')
_DATASET = ('layout', 'split')
EPILOG = """\
examples:
  vpr_compressed evaluate --reference day/ --query night/ --tolerance-frames 2 --out out/night
  vpr_compressed evaluate --reference monday.mcap --query tuesday.mcap --pose-topic /odom \\
      --radius-m 5 --out out/tuesday
  vpr_compressed evaluate --reference ref/ --query query/ --ground-truth ground_truth.json
  vpr_compressed evaluate --reference day/ --query night/ --tolerance-frames 2 \\
      --model default --model small --model mine.vpr --out out/models
  vpr_compressed evaluate --dataset pitts30k/ --out out/pitts
  vpr_compressed evaluate --live --reference monday.mcap --query tuesday.mcap

The reference is mapped, then every query image is recognised by the code that runs in the ROS
node. What counts as right is yours to say, with exactly one of
  --tolerance-frames N   two walks of one route, aligned image by image: index within N
  --radius-m R           both recordings have positions in one common frame (poses.csv or
                         --pose-topic)
  --ground-truth FILE    JSON, {"query index": [reference indices]}, indices from 0
or a data set brings it. --pose-topic may be Odometry, PoseStamped, PoseWithCovarianceStamped or
NavSatFix (metres on the UTM grid; pip install utm).
Each --model runs in a process of its own; with several, the report compares each with the first
on the same queries. The folder given with --out gets report.html (open it in a browser),
report.json and the plots. An earlier report in it is replaced; a folder with anything else is
refused. What was measured is kept: after ctrl-C the same command goes on where it was, and with
another ground truth it is quick. The report says which figures are from an earlier run."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    add_data_arguments(parser)
    options.add_model_arguments(parser, several=True)
    parser.add_argument(
        '--out', type=Path, default=OUT, metavar='DIR',
        help='folder of the report')
    parser.add_argument(
        '--cache', type=Path, metavar='DIR',
        help='folder of what was measured, to share it among reports (default: in --out)')
    _add_live_arguments(parser)


def add_data_arguments(parser: ArgumentParser) -> None:
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


def _add_live_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of a live evaluation."""
    group = parser.add_argument_group(
        'live (the ROS 2 node answers while the query is played; default folder out/live)')
    group.add_argument('--live', action='store_true',
                       help='play the query to the node and compare with the offline answers; '
                       '--reference may be a map file (.vprmap) of this model')
    group.add_argument('--live-record', type=Path, metavar='FILE',
                       help='compare an existing record_path of replay.launch.py; --reference is '
                       'the map file it was played with')
    pace = group.add_mutually_exclusive_group()
    pace.add_argument('--rate', type=options.positive, default=1.0, metavar='X',
                      help='speed relative to the stamps')
    pace.add_argument('--hz', type=options.positive, metavar='HZ',
                      help='images per second whatever their stamps say')
    pace.add_argument('--wait-for-answer', action='store_true',
                      help='publish each image after the answer to the last, so none is dropped')
    group.add_argument('--image-transport', choices=('auto', 'raw', 'compressed'), default='auto',
                       help='auto: compressed where the query holds compressed images')
    group.add_argument('--domain-id', type=int, metavar='N',
                       help='ROS_DOMAIN_ID (default: one of its own)')


def run(args: Namespace) -> None:
    """Write the report and print its headline."""
    from vpr_compressed.offline.reports.page import check_jinja2

    check_jinja2()
    if args.live or args.live_record:
        run_live(args)
        return
    from vpr_compressed.offline.measuring.observation import find_models
    from vpr_compressed.offline.reports.evaluation_report import CACHE_NAME
    from vpr_compressed.offline.reports.evaluation_report import check_folder
    from vpr_compressed.offline.reports.evaluation_report import evaluate

    check_folder(args.out)
    pair = open_pair(args)
    models = find_models(args.model or [None], engine=args.engine, threads=args.threads)
    headline, page = evaluate(
        pair, models, out=args.out, cache=args.cache or args.out / CACHE_NAME,
        command=args.command_line)
    print(headline)
    print(f'report: {page}')


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
) -> ground_truth.GroundTruth:
    """
    Return the right answers that the command line asks for.

    :raises GroundTruthError: none asked for, or it does not fit the recordings
    """
    if args.tolerance_frames is not None:
        return ground_truth.from_tolerance(len(query), len(reference), args.tolerance_frames)
    if args.radius_m is not None:
        return ground_truth.from_positions(
            ground_truth.positions_of(query), ground_truth.positions_of(reference),
            args.radius_m)
    if args.ground_truth is not None:
        return ground_truth.from_file(args.ground_truth, len(query), len(reference))
    raise GroundTruthError(CHOICE)


def _refuse(args: Namespace, names: Sequence[str], reason: str) -> None:
    """Refuse options that would be ignored."""
    given = [f'--{name.replace("_", "-")}' for name in names if getattr(args, name) is not None]
    if given:
        raise ConfigError(f'{", ".join(given)}: {reason}; leave them out')


def run_live(args: Namespace) -> None:
    """Write the report of a live evaluation and print its numbers."""
    from vpr_compressed.offline.live.ros_processes import check_rclpy
    from vpr_compressed.offline.live.session import evaluate_live
    from vpr_compressed.offline.live.session import LiveEvaluation
    from vpr_compressed.offline.live.session import PAGE_NAME
    from vpr_compressed.offline.network.engines import load_extractor

    check_live_arguments(args)
    if args.live_record is None:
        check_rclpy()
    query = options.source_from(args, args.query, args.query_topic)
    reference = args.reference if args.reference.suffix == MAP_SUFFIX else options.source_from(
        args, args.reference, args.reference_topic, utm_zone=args.utm_zone)
    out = LIVE_OUT if args.out == OUT else args.out
    extractor = load_extractor(
        args.model[0] if args.model else None, engine=args.engine, threads=args.threads)
    rows = evaluate_live(
        LiveEvaluation(
            reference=reference, query=query, query_topic=args.query_topic or '',
            rate_hz=args.rate_hz, record=args.live_record, rate=args.rate, hz=args.hz or 0.0,
            wait_for_answer=args.wait_for_answer, image_transport=args.image_transport,
            domain_id=args.domain_id, threads=args.threads, out=out),
        extractor, command=args.command_line)
    for name, value in rows:
        print(f'{name:<28} {value}')
    print(f'report: {out / PAGE_NAME}')


def check_live_arguments(args: Namespace) -> None:
    """
    Refuse what would be ignored.

    :raises ConfigError: no recordings, a ground truth, or a number that makes no sense
    """
    if args.reference is None or args.query is None or args.dataset is not None:
        raise ConfigError('--live plays a recording: give --query SRC and --reference SRC, image '
                          f'folders, ROS bags or a map file ({MAP_SUFFIX}), and no --dataset')
    if len(args.model or []) > 1:
        raise ConfigError('--live runs one node with one model; give --model once')
    if any(value is not None for value in (
            args.tolerance_frames, args.radius_m, args.ground_truth)):
        raise ConfigError('--live compares with the offline answers and needs no ground truth; '
                          'leave it out, and run evaluate without --live for the accuracy')
    if args.domain_id is not None and not 0 <= args.domain_id <= 101:
        raise ConfigError(f'--domain-id must lie in [0, 101], got {args.domain_id}')
    if args.live_record is not None and args.reference.suffix != MAP_SUFFIX:
        raise ConfigError('--live-record needs the map file that was played with as --reference, '
                          f'e.g. site{MAP_SUFFIX}; got {args.reference}')
