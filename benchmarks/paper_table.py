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
The results table of Saha, Varma, Jawahar (ACPR 2017) on our network and data.

Runs the committed recipes ``config/recipes/paper_*.yaml`` at the shares of zeros of the paper's
VGG16 rows, one after the other: first with the paper's float values, then with ours on the int8
grid. Writes ``docs/paper_table.md``. Rows that are finished are not run again, and a row that was
interrupted goes on where it was.

    python -m benchmarks.paper_table --data DATA --model out/train/model_fp32.vpr
"""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from argparse import RawDescriptionHelpFormatter
import json
from pathlib import Path
import shlex
import subprocess
import sys
from typing import Any
from typing import NamedTuple

from vpr_compressed.offline.reports.compression_rows import PAPER
from vpr_compressed.offline.reports.compression_rows import PaperRow

ROOT = Path(__file__).resolve().parents[1]


#: Steps of the recipes that share weights; they have the option ``grid``.
SHARING = (3, 4)


class Row(NamedTuple):
    """
    One row to run.

    :param paper: the row of the paper it stands beside
    :param grid: ``float``: shared values as in the paper; ``int8``: on the int8 grid
    """

    paper: PaperRow
    grid: str

    @property
    def name(self) -> str:
        """Name of the folder it is run in."""
        return f'{self.paper.bits}bit_{self.paper.pruned:g}_{self.grid}'


#: The rows that are run: those of the paper's larger network, with both kinds of values.
ROWS = tuple(Row(row, grid) for grid in ('float', 'int8') for row in PAPER
             if row.network == 'VGG16' and row.bits < 32)
Reports = dict[Row, dict[str, Any]]


def main() -> int:
    """Run what is missing, then write the table."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True,
                        help='folder the paths of the recipes are relative to')
    parser.add_argument('--model', type=Path, required=True,
                        help='float parent, e.g. model_fp32.vpr of "vpr_compressed train"')
    parser.add_argument('--out', type=Path, default=Path('out/paper'),
                        help='folder of the runs (default: %(default)s)')
    parser.add_argument('--cache', type=Path, help='images at network size (default: OUT/cache)')
    parser.add_argument('--table', type=Path, default=ROOT / 'docs' / 'paper_table.md',
                        help='file to write (default: %(default)s)')
    parser.add_argument('--only', type=int, nargs='+', choices=range(1, len(ROWS) + 1),
                        metavar='ROW', help='run only these rows, counted from 1; the table '
                                            'shows all that are finished')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE',
                        help='passed on to every run, for trials')
    args = parser.parse_args()
    for number in args.only or range(1, len(ROWS) + 1):
        status = run_row(args, ROWS[number - 1])
        if status:
            return status
    found = [(row, args.out / row.name / 'report.json') for row in ROWS]
    reports = {row: json.loads(path.read_text()) for row, path in found if path.exists()}
    if not reports:
        parser.error(f'no row is finished in {args.out}')
    args.table.write_text(as_markdown(reports, args), encoding='utf-8')
    print(f'wrote {args.table}')
    return 0


def run_row(args: Namespace, row: Row) -> int:
    """Run one row unless it is finished; return the exit status."""
    out = args.out / row.name
    if (out / 'report.json').exists():
        return 0
    command = [
        sys.executable, '-m', 'vpr_compressed', 'compress', '--recipe',
        str(ROOT / 'config' / 'recipes' / f'paper_{row.paper.bits}bit.yaml'), '--data',
        str(args.data), '--model', str(args.model), '--out', str(out), '--cache',
        str(args.cache or args.out / 'cache'), '--set',
        f'steps.1.sparsity={row.paper.pruned / 100:.4f}']
    for number in SHARING:
        command += ['--set', f'steps.{number}.grid={row.grid}']
    for pair in args.set:
        command += ['--set', pair]
    print('+', shlex.join(command), file=sys.stderr)
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603


def as_markdown(reports: Reports, args: Namespace) -> str:
    """Return the page: our rows and the paper's side by side."""
    one = next(iter(reports.values()))
    parent = one['rows'][0]
    lines = [
        '# The table of the paper, on our network and data', '',
        'Saha, Varma, Jawahar, *Compressing Deep Neural Networks for Recognizing Places*, ACPR '
        '2017, compress', 'VGG16-NetVLAD with whitening (149 M weights, 529.5 MB) and measure on '
        'Oxford and Paris. Here their recipe', '(`config/recipes/paper_*.yaml`, which say in what '
        'they differ) compresses '
        f'{parent["parameters"] / 1e6:.1f} M weights ({parent["parent_bytes"] / 1e6:.1f} MB) of',
        'MobileNetV2-NetVLAD with whitening. "float" are shared values as in the paper, one table '
        'for each tensor; "int8" the same recipe with values',
        'on the int8 grid and a scale per channel. Every MB is a `.vpr` file that loads by '
        'itself. Losses are points against the float parent, mean',
        'over the validation sets; a minus is a gain. Made by', '',
        f'    python -m benchmarks.paper_table --data DATA --model {args.model.name}', '',
        '| values | bits | zeros | mAP lost | recall@1 lost | precision@30 | MB | ratio | paper: '
        'zeros | mAP lost Oxford / Paris | MB | ratio |', '|---|---|---|---|---|---|---|---|---'
        '|---|---|---|',
        f'| parent | 32 | 0 % | 0 (mAP {100 * _map(parent):.1f}) | 0 (recall@1 '
        f'{100 * _recall(parent):.1f}) | {100 * _precision(parent):.1f} % | '
        f'{parent["parent_bytes"] / 1e6:.1f} | 1 | 0 % | 0 / 0 | 529.5 | 1 |']
    for row in ROWS:
        paper = row.paper
        head = f'| {row.grid} | {paper.bits} |'
        theirs = (f'{paper.pruned:g} % | {paper.oxford:g} / {paper.paris:g} | '
                  f'{paper.megabytes:g} | {paper.ratio:.1f} |')
        if row not in reports:
            if row.grid == 'float':  # the paper's own
                lines.append(f'{head} not run yet | | | | | | {theirs}')
            continue
        last = reports[row]['rows'][-1]
        lines.append(
            f'{head} {_zeros(last):.1f} % | {100 * (_map(parent) - _map(last)):.2f} | '
            f'{100 * (_recall(parent) - _recall(last)):.2f} | {100 * _precision(last):.1f} % | '
            f'{last["file_bytes"] / 1e6:.2f} | {last["ratio"]:.1f} | {theirs}')
    return '\n'.join([*lines, *_by_set(reports, parent), *_machine(one), ''])


def _by_set(reports: Reports, parent: dict[str, Any]) -> list[str]:
    """Return the table of the single validation sets."""
    names = list(parent['scores'])
    lines = [
        '', 'Per validation set (mAP / recall@1, per cent):', '',
        '| values | bits | zeros | ' + ' | '.join(names)
        + ' | cosine to the parent | entropy bound MB | bytes over the bound |',
        '|---' * (len(names) + 6) + '|']
    for head, row in [('parent | 32', parent), *(
            (f'{row.grid} | {row.paper.bits}', report['rows'][-1])
            for row, report in reports.items())]:
        scores = ' | '.join(
            f'{100 * row["scores"][name]["map"]:.1f} / '
            f'{100 * row["scores"][name]["recall"]["1"]:.1f}' for name in names)
        bound = row['entropy_bound_bytes']
        lines.append(f'| {head} | {_zeros(row):.1f} % | {scores} | {row["cosine"]:.3f} | '
                     f'{bound / 1e6:.2f} | {100 * (row["file_bytes"] / bound - 1):.1f} % |')
    return lines


def _machine(report: dict[str, Any]) -> list[str]:
    """Return on what it was trained."""
    machine = report['machine']
    return ['', f'Trained on {report["settings"]["data"][0]["folder"]} and others of the recipe; '
                f'{machine["processor"]}, {machine["cores"]} cores.']


def _map(row: dict[str, Any]) -> float:
    """Return the mean average precision, mean over the sets."""
    return _mean([scores['map'] for scores in row['scores'].values()])


def _recall(row: dict[str, Any]) -> float:
    """Return recall@1, mean over the sets."""
    return _mean([scores['recall']['1'] for scores in row['scores'].values()])


def _precision(row: dict[str, Any]) -> float:
    """Return precision@30, mean over the sets."""
    return _mean([scores['precision']['30'] for scores in row['scores'].values()])


def _zeros(row: dict[str, Any]) -> float:
    """Return the zeros among all weights and biases in per cent."""
    sizes = [(tensor['zeros'], _count(tensor['shape'])) for tensor in row['tensors']]
    return sum(zeros * size for zeros, size in sizes) / sum(size for _, size in sizes)


def _count(shape: list[int]) -> int:
    """Return the number of weights of a shape."""
    count = 1
    for size in shape:
        count *= size
    return count


def _mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


if __name__ == '__main__':
    sys.exit(main())
