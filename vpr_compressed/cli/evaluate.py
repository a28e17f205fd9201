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
from typing import TYPE_CHECKING

from vpr_compressed.cli import evaluate_live
from vpr_compressed.cli import options
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.layouts import AUTO
from vpr_compressed.offline.datasets.layouts import LAYOUTS
from vpr_compressed.offline.datasets.layouts import open_dataset
from vpr_compressed.sources import ImageSource

if TYPE_CHECKING:
    from vpr_compressed.offline.measuring.trial import Trial

CHOICE = (
    'say what counts as a right answer: --tolerance-frames N (walks aligned image by image), '
    '--radius-m R (recordings with positions), or --ground-truth FILE.json')
#: What only two recordings have, and what only a data set has.
_RECORDINGS = ('reference', 'query', 'reference_topic', 'query_topic', 'pose_topic', 'utm_zone',
               'ground_truth')
_DATASET = ('layout', 'split')
#: What the recognition of a walk in its own past cannot be combined with.
_NOT_REVISITS = ('reference', 'reference_topic', 'dataset', 'unknown', 'cut')
EPILOG = """\
examples:
  vpr_compressed evaluate --reference day/ --query night/ --tolerance-frames 2 --out out/night
  vpr_compressed evaluate --reference monday.mcap --query tuesday.mcap --pose-topic /odom \\
      --radius-m 5 --out out/tuesday
  vpr_compressed evaluate --reference ref/ --query query/ --ground-truth ground_truth.json
  vpr_compressed evaluate --reference day/ --query night/ --tolerance-frames 2 \\
      --model default --model small --model mine.vpr --out out/models
  vpr_compressed evaluate --dataset pitts30k/ --out out/pitts
  vpr_compressed evaluate --reference day/ --query night/ --tolerance-frames 2 \\
      --unknown other_site/ --cut 100:150 --reverse --speed 2 --out out/otherwise
  vpr_compressed evaluate --revisits --query loop/ --radius-m 3 --out out/loop
  vpr_compressed evaluate --live --reference monday.mcap --query tuesday.mcap

The reference is mapped, then every query image is recognised by the code that runs in the ROS
node. What counts as right is yours to say, with exactly one of
  --tolerance-frames N   two walks of one route, aligned image by image: index within N
  --radius-m R           both recordings have positions in one common frame (poses.csv or
                         --pose-topic)
  --ground-truth FILE    JSON, {"query index": [reference indices]}, indices from 0; with
                         --tolerance-frames N, references within N of a listed one too
or a data set brings it. --pose-topic may be Odometry, PoseStamped, PoseWithCovarianceStamped or
NavSatFix (metres on the UTM grid; pip install utm).
--reverse, --speed, --start-every and --cut walk the query and the unknown recordings otherwise;
they can be combined, and the right answers follow. A robot at speed 2 is every second image with
the same time between two images. There are no images for a slower robot: at 0.5 it stands at each
image until it is time for the next. Stretches that --cut leaves out of the map, and --unknown
recordings, must be withheld. How many images a robot that was just switched on needs is measured
from cold starts every --start-every images, or at ten places of the walk.
--revisits recognises one walk, --query, in its own past, as the node does in mode slam. Right is
an image of the same place from more than --exclude-recent-s before; where there is none, every
accepted match is a false closure. --ground-truth then lists images of the same recording.
Each --model runs in a process of its own; with several, the report compares each with the first
on the same queries. The folder given with --out gets report.html (open it in a browser),
report.json and the plots. An earlier report in it is replaced; a folder with anything else is
refused. What was measured is kept: after ctrl-C the same command goes on where it was, and with
another ground truth it is quick. The report says which figures are from an earlier run."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    add_data_arguments(parser)
    _add_walk_arguments(parser)
    options.add_model_arguments(parser, several=True)
    parser.add_argument(
        '--out', type=Path, default=evaluate_live.OUT, metavar='DIR',
        help='folder of the report')
    parser.add_argument(
        '--cache', type=Path, metavar='DIR',
        help='folder of what was measured, to share it among reports (default: in --out)')
    evaluate_live.add_live_arguments(parser)


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
    largest = answers.add_mutually_exclusive_group()
    largest.add_argument(
        '--tolerance-frames', type=int, metavar='N', help='largest difference of the indices')
    largest.add_argument('--radius-m', type=float, metavar='R', help='largest distance in metres')
    answers.add_argument(
        '--ground-truth', type=Path, metavar='FILE.json',
        help='listed answers; with --tolerance-frames, their neighbours too')


def _add_walk_arguments(parser: ArgumentParser) -> None:
    """Add what the decision is set to, and how the recordings are walked."""
    from vpr_compressed.decision.config import DecisionConfig
    from vpr_compressed.offline.measuring.replay import Replay
    from vpr_compressed.recognizer import RecognizerConfig

    decision = parser.add_argument_group('decision (as the parameters of the node)')
    options.add_config_arguments(decision, DecisionConfig)
    decision.add_argument(
        '--odometry', action='store_true',
        help='the poses of --query tell the decision how far the robot moved, as odometry would')
    walk = parser.add_argument_group('the same walk otherwise')
    options.add_config_arguments(walk, Replay, 'reverse', 'speed', 'start_every')
    walk.add_argument(
        '--cut', type=options.stretch, action='append', metavar='A:B',
        help='leave the images A up to B of the reference, B not included, out of the map; may be '
        'repeated')
    walk.add_argument(
        '--unknown', type=Path, action='append', metavar='SRC',
        help='images of places that are not in the map, all to be withheld; may be repeated')
    past = parser.add_argument_group('loop closure within one recording')
    past.add_argument(
        '--revisits', action='store_true', help='recognise --query in its own past')
    options.add_config_arguments(past, RecognizerConfig, 'exclude_recent_s')


def layouts_text() -> str:
    """Return the layouts of data sets, one after the other, in lines of 95 characters."""
    return 'layouts that are recognised:\n' + '\n'.join(
        textwrap.fill(
            f'{name:<9} {layout.tree}', 95, initial_indent='  ', subsequent_indent=' ' * 12,
            break_on_hyphens=False)
        for name, layout in LAYOUTS.items())


def run(args: Namespace) -> None:
    """Write the report and print its headline."""
    from vpr_compressed.offline.reports.page import check_jinja2

    check_jinja2()
    trial = trial_of(args)
    if args.live or args.live_record:
        _check_plain(args, trial)
        evaluate_live.run_live(args)
        return
    from vpr_compressed.offline.measuring.observation import find_models
    from vpr_compressed.offline.reports.evaluation_report import CACHE_NAME
    from vpr_compressed.offline.reports.evaluation_report import check_folder
    from vpr_compressed.offline.reports.evaluation_report import evaluate
    from vpr_compressed.offline.reports.revisits_report import evaluate_revisits

    check_folder(args.out)
    cache = args.cache or args.out / CACHE_NAME
    if args.revisits:
        _refuse(args, _NOT_REVISITS, '--revisits recognises one recording in its own past')
        recording, truth = open_revisits(args)
        _check_odometry(args, recording)
        headline, page = evaluate_revisits(
            recording, truth, find_models(
                args.model or [None], engine=args.engine, threads=args.threads),
            out=args.out, cache=cache, command=args.command_line, trial=trial)
    else:
        pair, unknown = open_pair(args), open_unknown(args)
        _check_odometry(args, pair.query)
        headline, page = evaluate(
            pair, find_models(args.model or [None], engine=args.engine, threads=args.threads),
            out=args.out, cache=cache, command=args.command_line, trial=trial, unknown=unknown)
    print(headline)
    print(f'report: {page}')


def trial_of(args: Namespace) -> Trial:
    """
    Return how the recordings are walked, and what the decision is set to.

    :raises ConfigError: a value is out of bounds, or an option would be ignored
    """
    from vpr_compressed.decision.config import DecisionConfig
    from vpr_compressed.offline.measuring.replay import Replay
    from vpr_compressed.offline.measuring.trial import Trial
    from vpr_compressed.recognizer import RecognizerConfig

    recognizer = options.config_from(args, RecognizerConfig)
    if args.revisits and args.start_every:
        raise ConfigError(
            '--start-every: --revisits recognises a walk that goes on; leave it out')
    if not args.revisits and recognizer != RecognizerConfig():
        raise ConfigError('--exclude-recent-s: only --revisits maps and recognises at once; leave '
                          'it out')
    return Trial(
        replay=Replay(
            reverse=args.reverse, speed=args.speed, start_every=args.start_every,
            cut=tuple(args.cut or ())),
        decision=options.config_from(args, DecisionConfig), recognizer=recognizer,
        odometry=args.odometry, revisits=args.revisits)


def _check_plain(args: Namespace, trial: Trial) -> None:
    """Refuse what a walk that is played to the node would ignore."""
    from vpr_compressed.offline.measuring.trial import Trial

    _refuse(args, ('unknown',), '--live plays one recording')
    if trial != Trial():
        raise ConfigError(
            '--live plays the recording as it is to a node with its defaults; leave out the '
            'options of the decision, of the same walk otherwise, and --revisits')


def _check_odometry(args: Namespace, query: ImageSource) -> None:
    """Refuse odometry that is not there."""
    if args.odometry and any(frame.pose is None for frame in query):
        raise ConfigError(
            f'--odometry: {query.describe()} has images without a pose; name its --pose-topic, or '
            'put a poses.csv into the folder')


def open_unknown(args: Namespace) -> list[ImageSource]:
    """
    Open the recordings of places that are not in the map.

    :raises SourceError: one cannot be read
    """
    from vpr_compressed.sources import open_source
    from vpr_compressed.sources.image_files import is_bag

    return [
        open_source(path, topic=args.query_topic if is_bag(path) else None, rate_hz=args.rate_hz)
        for path in args.unknown or ()]


def open_revisits(args: Namespace) -> tuple[ImageSource, ground_truth.GroundTruth]:
    """
    Open one recording, and say which of its images show the same place.

    :raises ConfigError: no recording
    :raises GroundTruthError: none asked for, or it does not fit the recording
    """
    if args.query is None:
        raise ConfigError('say which walk to recognise in its own past: --query SRC')
    source = options.source_from(args, args.query, args.query_topic, utm_zone=args.utm_zone)
    if args.radius_m is None and args.ground_truth is None:
        raise GroundTruthError(
            'say which images show the same place: --radius-m R (a recording with positions) or '
            '--ground-truth FILE.json, {"image": [images of the same place]}')
    return source, truth_of_recordings(args, source, source, may_be_empty=True)


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
    args: Namespace, reference: ImageSource, query: ImageSource, *, may_be_empty: bool = False
) -> ground_truth.GroundTruth:
    """
    Return the right answers that the command line asks for.

    :param may_be_empty: whether it makes sense that no image has one
    :raises GroundTruthError: none asked for, or it does not fit the recordings
    """
    if args.radius_m is not None:
        if args.ground_truth is not None:
            raise GroundTruthError(
                '--radius-m and --ground-truth both say what counts as right; leave out one')
        return ground_truth.from_positions(
            ground_truth.positions_of(query), ground_truth.positions_of(reference),
            args.radius_m)
    if args.ground_truth is not None:
        return ground_truth.from_file(
            args.ground_truth, len(query), len(reference), may_be_empty=may_be_empty,
            tolerance_frames=args.tolerance_frames or 0)
    if args.tolerance_frames is not None:
        return ground_truth.from_tolerance(len(query), len(reference), args.tolerance_frames)
    raise GroundTruthError(CHOICE)


def _refuse(args: Namespace, names: Sequence[str], reason: str) -> None:
    """Refuse options that would be ignored."""
    given = [f'--{name.replace("_", "-")}' for name in names if getattr(args, name) is not None]
    if given:
        raise ConfigError(f'{", ".join(given)}: {reason}; leave them out')
