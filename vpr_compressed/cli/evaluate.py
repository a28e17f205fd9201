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

"""Measure a model on two recordings and write a report."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_compressed.cli import options
from vpr_compressed.errors import GroundTruthError

if TYPE_CHECKING:
    from vpr_compressed.evaluation.ground_truth import GroundTruth
    from vpr_compressed.evaluation.summary import Report
    from vpr_compressed.sources import ImageSource

NAME = 'evaluate'
HELP = 'measure recall, precision, latency and memory on two recordings'
EPILOG = """\
examples:
  vpr_compressed evaluate --reference day/ --query night/ --tolerance-frames 2 --out out/night
  vpr_compressed evaluate --reference monday.mcap --query tuesday.mcap --pose-topic /odom \\
      --radius-m 5 --out out/tuesday
  vpr_compressed evaluate --reference ref/ --query query/ --ground-truth ground_truth.json

The reference is mapped, then every query image is recognised by the code that runs in the ROS
node. What counts as right is yours to say, with exactly one of
  --tolerance-frames N   two walks of one route, aligned image by image: index within N
  --radius-m R           both recordings have positions in one common frame (poses.csv or
                         --pose-topic)
  --ground-truth FILE    JSON, {"query index": [reference indices]}, indices from 0
The folder given with --out gets report.html (open it in a browser), report.json and the plots.
An earlier report in it is replaced; a folder with anything else is refused."""
CHOICE = (
    'say what counts as a right answer: --tolerance-frames N (walks aligned image by image), '
    '--radius-m R (recordings with positions), or --ground-truth FILE.json')


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    sources = parser.add_argument_group('recordings (image folder or ROS bag)')
    sources.add_argument(
        '--reference', type=Path, required=True, metavar='SRC', help='the walk that is mapped')
    sources.add_argument(
        '--query', type=Path, required=True, metavar='SRC', help='the walk that is recognised')
    sources.add_argument('--reference-topic', metavar='T', help='image topic of that bag')
    sources.add_argument('--query-topic', metavar='T', help='image topic of that bag')
    sources.add_argument('--pose-topic', metavar='T', help='pose topic of the bags')
    options.add_rate_argument(sources)
    truth = parser.add_argument_group(
        'right answers (one is needed)').add_mutually_exclusive_group()
    truth.add_argument(
        '--tolerance-frames', type=int, metavar='N', help='largest difference of the indices')
    truth.add_argument('--radius-m', type=float, metavar='R', help='largest distance in metres')
    truth.add_argument('--ground-truth', type=Path, metavar='FILE.json', help='listed answers')
    options.add_model_arguments(parser)
    parser.add_argument(
        '--out', type=Path, default=Path('out/evaluate'), metavar='DIR',
        help='folder of the report')


def run(args: Namespace) -> None:
    """Write the report and print its headline."""
    from vpr_compressed.evaluation.benchmark import measure
    from vpr_compressed.evaluation.model_cost import load_measured
    from vpr_compressed.evaluation.report import check_folder
    from vpr_compressed.evaluation.report import write_report
    from vpr_compressed.evaluation.summary import describe_setting
    from vpr_compressed.evaluation.summary import summarise

    check_folder(args.out)
    reference = options.source_from(args, args.reference, args.reference_topic)
    query = options.source_from(args, args.query, args.query_topic)
    truth = ground_truth_from(args, reference, query)
    loaded = load_measured(args.model, engine=args.engine, threads=args.threads)
    with options.progress(len(reference) + len(query), 'evaluating') as bar:
        measurement = measure(
            reference, query, loaded.extractor, progress=lambda _phase: bar.update())
    setting = describe_setting(
        loaded, measurement, reference, query, command=args.command_line, threads=args.threads)
    report = summarise(measurement, truth, loaded, setting)
    written = write_report(report, args.out, reference, query)
    print(headline(report))
    print(f'report: {written}')


def ground_truth_from(
    args: Namespace, reference: ImageSource, query: ImageSource
) -> GroundTruth:
    """
    Return the right answers that the command line asks for.

    :raises GroundTruthError: none asked for, or it does not fit the recordings
    """
    from vpr_compressed.evaluation import ground_truth

    if args.tolerance_frames is not None:
        return ground_truth.from_tolerance(len(query), len(reference), args.tolerance_frames)
    if args.radius_m is not None:
        return ground_truth.from_positions(
            ground_truth.positions_of(query), ground_truth.positions_of(reference),
            args.radius_m)
    if args.ground_truth is not None:
        return ground_truth.from_file(args.ground_truth, len(query), len(reference))
    raise GroundTruthError(CHOICE)


def headline(report: Report) -> str:
    """Return the main numbers as a small table."""
    accepted = report.accepted
    right = '' if accepted.precision is None else f', {accepted.precision:.1%} of them right'
    recall = '   '.join(f'@{n} {value:.3f}' for n, value in report.recall.items())
    rows = [
        ('recall', recall),
        ('mean average precision', f'{report.mean_average_precision:.3f}'),
        ('recall at 100 % precision', f'{report.curve.max_recall_at_full_precision:.3f}'),
        ('accepted matches', f'{accepted.accepted} of {len(report.measurement.queries)} queries'
         f'{right}'),
        ('latency', f'p50 {report.latency_ms["p50"]:.1f} ms, p95 {report.latency_ms["p95"]:.1f} '
         f'ms ({report.setting["engine"]}, {report.setting["precision"]})'),
        ('model', f'{options.human_bytes(report.model_bytes)} on disk, '
         f'{options.human_bytes(report.model_resident_bytes)} in memory'),
        ('map', f'{len(report.measurement.reference_names)} places, '
         f'{report.measurement.bytes_per_place:.0f} B each'),
    ]
    return '\n'.join(f'{name:<26} {value}' for name, value in rows)
