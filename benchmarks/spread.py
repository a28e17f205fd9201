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
How much of a compressed model's accuracy is luck: one recipe, several seeds, one table.

Runs ``vpr_compressed compress`` once for every recipe and seed, measures the float parent and
every result with ``vpr_compressed evaluate`` on sets that neither training nor acceptance has
seen (Corridor alone is among the sets that accept), and writes a page. What is finished is not
run again, and a run that was interrupted goes on where it was.

    python -m benchmarks.spread --data DATA --model out/train/model_fp32.vpr
"""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
import json
from pathlib import Path
import shlex
import subprocess
import sys
from typing import Any
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
#: Name, reference, query, and what counts as right, below the data folder.
PAIRS = (
    ('day, other side', 'gardens_point/day_left', 'gardens_point/day_right', 2),
    ('night', 'gardens_point/day_right', 'gardens_point/night_right', 2),
    ('night, other side', 'gardens_point/day_left', 'gardens_point/night_right', 2),
    ('corridor', 'corridor/ref', 'corridor/query', 'corridor/ground_truth.json'),
)
NOT_ACCEPTED = 3


class Result(NamedTuple):
    """
    One finished model.

    :param name: recipe and seed
    :param size: bytes of the file; of the parent, four for each weight
    :param row: last row of its compression report; the first one for the parent
    :param parent: first row of that report
    :param recall: recall@1 on each of :data:`PAIRS`, in [0, 1]
    :param accepted: whether the acceptance test of the recipe let it pass
    """

    name: str
    size: int
    row: dict[str, Any]
    parent: dict[str, Any]
    recall: tuple[float, ...]
    accepted: bool = True

    @property
    def street_map(self) -> float:
        """Mean average precision on the street views, plain and dark, in [0, 1]."""
        return _mean([self.row['scores'][name]['map'] for name in ('street', 'street_dark')])


def main() -> int:
    """Run what is missing, then write the page."""
    args = parse_arguments()
    groups: dict[str, list[Result]] = {}
    for recipe in args.recipes:
        for seed in args.seeds:
            if args.finished and not (folder_of(args, recipe, seed) / 'report.json').exists():
                continue
            result = run(args, recipe, seed)
            if result is None:
                return 1
            groups.setdefault(recipe.stem, []).append(result)
    if not groups:
        raise SystemExit(f'no run is finished in {args.out}')
    first = next(iter(groups.values()))[0]
    parent = Result('float parent', first.parent['parent_bytes'], first.parent, first.parent,
                    evaluate(args, args.model, args.out / 'parent'))
    args.page.write_text(as_markdown(parent, groups, args), encoding='utf-8')
    print(f'wrote {args.page}')
    return 0


def parse_arguments() -> Namespace:
    """Return the command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    recipes = ROOT / 'config' / 'recipes'
    parser.add_argument('--data', type=Path, required=True,
                        help='folder the paths of the recipes are relative to')
    parser.add_argument('--model', type=Path, required=True,
                        help='float parent, e.g. model_fp32.vpr of "vpr_compressed train"')
    parser.add_argument('--recipes', type=Path, nargs='+',
                        default=[recipes / 'default.yaml', recipes / 'small.yaml'],
                        help='default: default.yaml and small.yaml')
    parser.add_argument('--seeds', type=int, nargs='+', default=[1, 2, 3],
                        help='default: %(default)s')
    parser.add_argument('--finished', action='store_true',
                        help='compress nothing: measure and show the runs that are finished')
    parser.add_argument('--out', type=Path, default=Path('out/spread'),
                        help='folder of the runs (default: %(default)s)')
    parser.add_argument('--cache', type=Path, help='images at network size (default: OUT/cache)')
    parser.add_argument('--page', type=Path, default=ROOT / 'docs' / 'spread.md',
                        help='file to write (default: %(default)s)')
    args = parser.parse_args()
    for name in ('data', 'model', 'out', 'cache', 'page'):
        value = getattr(args, name)
        setattr(args, name, value and value.resolve())
    return args


def folder_of(args: Namespace, recipe: Path, seed: int) -> Path:
    """Return where a run is."""
    return Path(args.out) / recipe.stem / f'seed_{seed}'


def run(args: Namespace, recipe: Path, seed: int) -> Result | None:
    """Compress with one seed and measure the result; None if that failed."""
    out = folder_of(args, recipe, seed)
    report = out / 'report.json'
    if not report.exists():
        status = call('compress', '--recipe', str(recipe), '--data', str(args.data), '--model',
                      str(args.model), '--out', str(out), '--seed', str(seed), '--cache',
                      str(args.cache or args.out / 'cache'))
        if status not in (0, NOT_ACCEPTED):
            return None
    values = json.loads(report.read_text())
    # What was refused is not written as model.vpr, but its last step is there to be measured.
    accepted = (out / 'model.vpr').exists()
    model = out / 'model.vpr' if accepted else max((out / 'steps').glob('*.vpr'))
    return Result(f'seed {seed}', model.stat().st_size, values['rows'][-1], values['rows'][0],
                  evaluate(args, model, out / 'evaluate'), accepted)


def evaluate(args: Namespace, model: Path, out: Path) -> tuple[float, ...]:
    """Return recall@1 of a model on all pairs."""
    recall = []
    for number, (_, reference, query, right) in enumerate(PAIRS):
        report = out / str(number) / 'report.json'
        truth = ('--tolerance-frames', str(right)) if isinstance(right, int) else (
            '--ground-truth', str(args.data / right))
        if not report.exists() and call(
                'evaluate', '--reference', str(args.data / reference), '--query',
                str(args.data / query), *truth, '--model', str(model), '--out',
                str(report.parent)):
            raise SystemExit(f'cannot measure {model}')
        recall.append(float(json.loads(report.read_text())['recall']['1']))
    return tuple(recall)


def call(*words: str) -> int:
    """Run a verb of this package and return its exit status."""
    command = [sys.executable, '-m', 'vpr_compressed', *words]
    print('+', shlex.join(command), file=sys.stderr)
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603


def as_markdown(parent: Result, groups: dict[str, list[Result]], args: Namespace) -> str:
    """Return the page."""
    names = [name for name, *_ in PAIRS]
    lines = [
        '# The same recipe with other seeds', '',
        'recall@1 in per cent on three pairs of Gardens Point (200 queries each, within two '
        'frames) and on Corridor (111 queries). "mean lost" is', 'the mean of the four against '
        'the float parent, "street mAP lost" that of `gsv_cambridge` val, plain and darkened, '
        'both in points; a', 'minus is a gain. Seeds that are missing were not run. Made by', '',
        f'    python -m benchmarks.spread --data DATA --model {args.model.name}', '',
        '| | bytes | times smaller | ' + ' | '.join(names)
        + ' | mean lost | street mAP lost | accepted |',
        '|---' * (len(names) + 6) + '|',
        _line(parent, parent, accepted='')]
    for recipe, results in groups.items():
        lines.append(f'| **{recipe}** ' + '| ' * (len(names) + 5) + '|')
        lines += [_line(result, parent, 'yes' if result.accepted else 'no') for result in results]
        lines.append(_spread(results, parent))
    return '\n'.join([*lines, ''])


def _line(result: Result, parent: Result, accepted: str) -> str:
    """Return one model as a line of the table."""
    cells = [
        result.name, f'{result.size:,}'.replace(',', ' '), f'{parent.size / result.size:.1f}',
        *(f'{100 * value:.1f}' for value in result.recall),
        f'{100 * _lost(result, parent):.2f}',
        f'{100 * (parent.street_map - result.street_map):.2f}', accepted]
    return '| ' + ' | '.join(cells) + ' |'


def _spread(results: Sequence[Result], parent: Result) -> str:
    """Return mean and range of all columns as a line of the table."""
    columns = [
        [100 * result.recall[number] for result in results] for number in range(len(PAIRS))]
    lost = [100 * _lost(result, parent) for result in results]
    street = [100 * (parent.street_map - result.street_map) for result in results]
    ratios = [parent.size / result.size for result in results]
    cells = [
        'mean (range)', '', f'{_mean(ratios):.1f}',
        *(f'{_mean(values):.1f} ({min(values):.1f} to {max(values):.1f})' for values in columns),
        *(f'{_mean(values):.2f} ({min(values):.2f} to {max(values):.2f})'
          for values in (lost, street)),
        f'{sum(result.accepted for result in results)} of {len(results)}']
    return '| ' + ' | '.join(cells) + ' |'


def _lost(result: Result, parent: Result) -> float:
    """Return the mean recall@1 lost over the pairs, in [-1, 1]."""
    return _mean(parent.recall) - _mean(result.recall)


def _mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


if __name__ == '__main__':
    sys.exit(main())
