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
from typing import TYPE_CHECKING

from vpr_compressed.cli import dataset_options
from vpr_compressed.cli import live
from vpr_compressed.cli import options
from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.offline.measuring.models import EvaluatedModel
    from vpr_compressed.offline.measuring.observation import Observation
    from vpr_compressed.offline.measuring.observation import Recordings
    from vpr_compressed.offline.reports.evaluation import Evaluation

NAME = 'evaluate'
HELP = 'measure recall, precision, latency and memory on two recordings'
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
    dataset_options.add_arguments(parser)
    options.add_model_arguments(parser, several=True)
    parser.add_argument(
        '--out', type=Path, default=Path('out/evaluate'), metavar='DIR',
        help='folder of the report')
    parser.add_argument(
        '--cache', type=Path, metavar='DIR',
        help='folder of what was measured, to share it among reports (default: in --out)')
    live.add_live_arguments(parser)


def run(args: Namespace) -> None:
    """Write the report and print its headline."""
    from vpr_compressed.offline.reports.page import check_jinja2

    check_jinja2()
    if args.live or args.live_record:
        live.run_live(args)
        return
    from vpr_compressed.offline.measuring import observation
    from vpr_compressed.offline.measuring.models import find_models
    from vpr_compressed.offline.reports.evaluation import evaluation_of
    from vpr_compressed.offline.reports.evaluation_report import CACHE_NAME
    from vpr_compressed.offline.reports.evaluation_report import check_folder
    from vpr_compressed.offline.reports.evaluation_report import write_report
    from vpr_compressed.offline.reports.model_report import describe_setting
    from vpr_compressed.offline.reports.model_report import summarise

    cache = args.cache or args.out / CACHE_NAME
    check_folder(args.out)
    pair = dataset_options.open_pair(args)
    reference, query = pair.reference, pair.query
    models = find_models(args.model or [None], engine=args.engine, threads=args.threads)
    observation.check_cache(cache)
    with terminal.progress(len(reference) + len(query), 'reading') as bar:
        recordings = observation.read_recordings(
            reference, query, lambda done, _total: bar.update(done - bar.n))
    try:
        seen = observe_all(models, recordings, cache)
    except KeyboardInterrupt:
        terminal.say(f'what was measured is kept in {cache}; the same command goes on from there')
        raise
    evaluation = evaluation_of([
        summarise(one, pair.truth, model, describe_setting(
            model, one.measurement, reference, query, command=args.command_line))
        for model, one in zip(models, seen)])
    written = write_report(evaluation, args.out, reference, query)
    print(headline(evaluation))
    print(f'report: {written}')


def observe_all(
    models: Sequence[EvaluatedModel], recordings: Recordings, cache: Path
) -> list[Observation]:
    """
    Run every model in a process of its own, one after the other, with one bar for all.

    :raises KeyboardInterrupt: also if it reached only a child
    :raises VprError: the text of a child
    """
    from vpr_compressed.offline.measuring.observation import observe
    from vpr_compressed.system.processes import MeasurementCancelledError

    seen: list[Observation] = []
    with terminal.progress(len(models) * len(recordings), 'evaluating') as bar:
        for model in models:
            bar.set_description(f'evaluating {model.label}')
            start = bar.n

            def progress(done: int, _total: int, start: int = start) -> None:
                bar.update(start + done - bar.n)

            try:
                seen.append(observe(model, recordings, cache, progress))
            except MeasurementCancelledError as error:
                raise KeyboardInterrupt from error
            if seen[-1].cached:
                # As work done in no time it would make the remaining time too short.
                bar.total -= len(recordings)
                bar.refresh()
    return seen


def headline(evaluation: Evaluation) -> str:
    """Return the numbers of all models as a table, and which differences are significant."""
    from vpr_compressed.offline.reports.evaluation import table_of

    labels = [report.model.label for report in evaluation.reports]
    rows = table_of(evaluation.reports)
    if len(labels) > 1:
        rows = [('', labels), *rows]
    name_width = max(len(name) for name, _ in rows)
    widths = [max(len(values[column]) for _, values in rows) for column in range(len(labels))]
    lines = [
        f'{name:<{name_width}}' + ''.join(
            f'  {value:>{width}}' for value, width in zip(values, widths))
        for name, values in rows]
    return '\n'.join([*lines, *(each.sentence() for each in evaluation.comparisons)])
