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

"""Fit how sure a place must be, to labelled walks or to recordings of an own site."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_compressed.cli import evaluate
from vpr_compressed.cli import options
from vpr_compressed.errors import ConfigError
from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.offline.calibration.outcome import Trade
    from vpr_compressed.offline.calibration.session import Calibrated
    from vpr_compressed.offline.calibration.session import Calibration
    from vpr_compressed.offline.calibration.session import Fitted

EPILOG = """\
examples:
  # your own site: a drive with positions that comes back to its places
  vpr_compressed calibrate --source loop.mcap --pose-topic /odom --radius-m 3 --out site.vpr

  # without positions: the recording itself must show beyond doubt where it comes back
  vpr_compressed calibrate --source loop.mcap --out site.vpr

  # a walk that is mapped and a second one, with right answers as for "evaluate"
  vpr_compressed calibrate --reference monday.mcap --query tuesday.mcap --pose-topic /odom \\
      --radius-m 5 --unknown other_building.mcap --out site.vpr

  # labelled walks of many kinds of place, as the packaged models were calibrated
  vpr_compressed calibrate --recipe config/recipes/calibration.yaml --data DATA --out new.vpr

Every walk is recognised by the code that runs on the robot. What it had to go by for each image,
and whether it was right, is what the curve is fitted to: confidence = probability that the place
is right. For each wanted precision the least confidence is stored that showed it, with a margin
for chance; a few images cannot show 99 %, and then the threshold stays where it was. With little
data the curve moves only a little from that of --model.
The table says what each min_precision costs. Set it in the parameters of the node:
  decision:
    min_precision: 0.95
Maps made with --model stay valid: descriptors do not change. Positions must not drift: odometry
that is metres off when the robot comes back labels right answers wrong.
Beside --out: NAME_reliability.png (is a confidence what it says?) and NAME_precision_recall.png.
Ctrl-C leaves nothing behind; with --cache the same command goes on where it was."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE.vpr', help='model file to write')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace model file and pictures if they exist')
    parser.add_argument(
        '--cache', type=Path, metavar='DIR',
        help='folder that keeps descriptors, so that the next fit takes seconds (default: none)')
    recipe = parser.add_argument_group('labelled walks')
    recipe.add_argument(
        '--recipe', type=Path, metavar='FILE.yaml', help='sites, and walks through them')
    recipe.add_argument(
        '--data', type=Path, metavar='DIR', help='folder the paths of the recipe are relative to')
    own = parser.add_argument_group('or one recording of the own site')
    own.add_argument(
        '--source', type=Path, metavar='SRC',
        help='image folder or ROS bag that comes back to its places; right answers by --radius-m, '
             'or without positions by itself')
    own.add_argument('--topic', metavar='T', help='image topic of that bag, if it has several')
    evaluate.add_data_arguments(parser)
    parser.add_argument(
        '--unknown', type=Path, action='append', metavar='SRC',
        help='recording of places that are not in the own site; may be repeated')
    options.add_model_arguments(parser)


def run(args: Namespace) -> None:
    """Calibrate, and say what came out."""
    from vpr_compressed.offline.calibration.session import Calibration
    from vpr_compressed.offline.network.engines import load_extractor

    check_arguments(args)
    extractor = load_extractor(args.model, engine=args.engine, threads=args.threads)
    calibration = Calibration(extractor, args.out, overwrite=args.overwrite, cache=args.cache)
    print(as_text(calibrated(args, calibration)))


def calibrated(args: Namespace, calibration: Calibration) -> Calibrated:
    """
    Fit to what the command line names.

    :raises VprError: it cannot be read, or is too little
    """
    from vpr_compressed.sources import open_source

    if args.recipe is not None:
        return calibration.by_recipe(args.recipe, args.data)
    others = [open_source(path, rate_hz=args.rate_hz) for path in args.unknown or ()]
    if args.source is not None:
        source = options.source_from(args, args.source, args.topic, utm_zone=args.utm_zone)
        return calibration.by_one_recording(source, args.radius_m, others)
    pair = evaluate.open_pair(args)
    return calibration.by_two_recordings(pair.reference, pair.query, pair.truth, others)


def check_arguments(args: Namespace) -> None:
    """
    Refuse what would be ignored.

    :raises ConfigError: not exactly one kind of data, or options that do not belong to it
    """
    recordings = args.reference is not None or args.query is not None or args.dataset is not None
    kinds = [args.recipe is not None, args.source is not None, recordings]
    if sum(kinds) != 1:
        raise ConfigError(
            'say what to fit to, with one of --recipe FILE --data DIR (labelled walks), --source '
            'SRC (one recording that comes back), or --reference SRC --query SRC (two recordings)')
    if (args.recipe is None) != (args.data is None):
        raise ConfigError('--recipe and --data belong together: a recipe names paths below DIR')
    if args.recipe is not None and args.unknown:
        raise ConfigError('a recipe names its unknown walks itself (by: nothing, or crossed); '
                          'leave --unknown out')
    if args.source is not None:
        if args.tolerance_frames is not None or args.ground_truth is not None:
            raise ConfigError('one recording is judged by --radius-m or by itself; leave '
                              '--tolerance-frames and --ground-truth out')
        if args.pose_topic is not None and args.radius_m is None:
            raise ConfigError('--pose-topic gives positions; say with --radius-m within how many '
                              'metres two images show the same place')


def as_text(found: Calibrated) -> str:
    """Return what came out, for people."""
    lines = [f'fitted to {found.images} images of {", ".join(found.groups)}']
    for curve in found.curves:
        lines += ['', *_curve_lines(curve)]
    return '\n'.join([*lines, '', *(f'wrote {path}' for path in found.written)])


def _curve_lines(found: Fitted) -> list[str]:
    """Return what became of one curve."""
    from vpr_compressed.offline.calibration import outcome

    if found.samples is None:
        return [f'{found.name}: kept as it was; {found.note}']
    terms = ' + '.join(f'{weight:.3g} {name}' for name, weight in zip(
        found.curve.evidence, found.curve.weights) if weight)
    error = found.reliability.error
    how = 'in the images it was fitted to' if found.held_out is None else (
        'in kinds of place that a fit had not seen')
    rows = [('to set', 'confidence needed', 'right of what is reported', 'reported of places '
             'in the map')]
    trades = outcome.trades(found.samples, found.curve)
    rows += map(_trade_row, trades)
    few = [] if all(trade.shown for trade in trades) else [
        '  * too few images to show it; the threshold is that of the model before, or more']
    return [f'{found.name}: log-odds = {terms or "0"} {found.curve.intercept:+.3g}; calibration '
            f'error {error or 0.0:.3f} {how}',
            *(f'  {line}' for line in terminal.columns(rows, left=1)), *few]


def _trade_row(trade: Trade) -> tuple[str, str, str, str]:
    """Return what one wanted precision costs."""
    right = 'nothing is reported' if trade.precision is None else f'{trade.precision:.1%}'
    if trade.interval is not None:
        right += f' ({100 * trade.interval.low:.1f} to {100 * trade.interval.high:.1f})'
    return (f'min_precision: {trade.wanted:g}', f'{trade.threshold:.3f}',
            right if trade.shown else f'{right} *', f'{trade.recall:.1%}')
