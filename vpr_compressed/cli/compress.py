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

"""Verb ``compress``: prune and quantize a model by a recipe, on labelled or plain images."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from argparse import ArgumentParser
from argparse import Namespace
from collections.abc import Callable
import json
from pathlib import Path
import time
from typing import Any
from typing import TYPE_CHECKING

from vpr_compressed.cli.offline import graceful
from vpr_compressed.cli.offline import INTERRUPTED
from vpr_compressed.cli.offline import parse_overrides
from vpr_compressed.cli.offline import start_torch
from vpr_compressed.cli.offline import tell
from vpr_compressed.system.terminal import bar

if TYPE_CHECKING:
    from vpr_compressed.offline.compression.session import Outcome
    from vpr_compressed.offline.reports.compression_rows import StepRow

NAME = 'compress'
HELP = 'prune and quantize a model by a recipe (needs the train extra: torch)'
NOT_ACCEPTED = 3
EPILOG = """\
examples:
  # fit a model to your own site: a bag or an image folder, no labels needed
  vpr_compressed compress --recipe config/recipes/site.yaml --images site.mcap --out out/site

  # the packaged default, from the float network of "vpr_compressed train"
  vpr_compressed compress --recipe config/recipes/default.yaml --data DATA \\
      --model out/train/model_fp32.vpr --out out/default

  # stop with ctrl-C (or pull the plug) and give the same command again: it goes on
  # change a value of the recipe: the bits of its third step
  vpr_compressed compress ... --set steps.3.bits=4

  # on two processes (or GPUs) that share each batch
  torchrun --nproc-per-node 2 -m vpr_compressed compress ... --threads 4

A recipe is a list of steps: truncate_whitening, reduce_channels, prune_channels, sparsify,
quantize, quantize_activations, finetune. After each step the network is measured as it would
run on a robot. The last one is judged on images that were not trained on: with labels by
recall@1 and mAP against the parent, without by agreement with the parent on the end of the
recording. A model that fails is not written (exit status 3), and report.html says by how much."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument('--recipe', type=Path, required=True, help='YAML file: the steps')
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument('--data', type=Path, metavar='ROOT',
                      help='folder the labelled images of the recipe are relative to')
    data.add_argument('--images', type=Path, metavar='FOLDER_OR_BAG',
                      help='images without labels: a folder or a ROS bag')
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument('--model', type=Path, metavar='PARENT.vpr',
                        help='model to compress (default: the one in the package)')
    parser.add_argument('--out', type=Path, default=Path('out/compress'),
                        help='folder for the model, the report and checkpoints')
    parser.add_argument('--cache', type=Path,
                        help='folder for the images at network size (default: OUT/cache); give '
                             'several runs on the same images the same one')
    parser.add_argument('--seed', type=int, help='replaces the seed of the recipe')
    parser.add_argument('--set', action='append', metavar='KEY=VALUE',
                        help='replace one value of the recipe, such as steps.2.bits=4; may be '
                             'repeated')
    parser.add_argument('--threads', type=int, default=0,
                        help='CPU threads of a process, 0 for all cores (one under torchrun)')
    parser.add_argument('--progress', choices=('bar', 'json'), default='bar',
                        help='json prints one object a line on stdout, for programs')


def run(args: Namespace) -> int:
    """Compress; 0 written, 3 not accepted, 130 interrupted."""
    start_torch(args.threads)
    from vpr_compressed.model_file.model import find_model
    from vpr_compressed.offline.compression.compressor import Cancelled
    from vpr_compressed.offline.compression.data import Place
    from vpr_compressed.offline.compression.recipe import load_recipe
    from vpr_compressed.offline.compression.session import CompressSession
    from vpr_compressed.offline.compression.session import Job
    from vpr_compressed.offline.compression.session import Listener
    from vpr_compressed.offline.training import parallel
    from vpr_compressed.offline.training.views import ReadingCancelledError
    from vpr_compressed.system.processes import MeasurementCancelledError

    overrides = parse_overrides(args.set or [])
    if args.seed is not None:
        overrides['seed'] = args.seed
    recipe = load_recipe(args.recipe, overrides)
    stop = _Flag()
    with parallel.joined(), graceful(stop.set):
        display = _Json(len(recipe.steps)) if args.progress == 'json' else _Bar(
            len(recipe.steps))
        names = [step.NAME for step in recipe.steps]
        try:
            outcome = CompressSession(
                Job(recipe=recipe, name=args.recipe.stem,
                    parent=find_model(args.model),
                    place=Place(args.data, args.images, args.topic), out=args.out,
                    cache=args.cache or args.out / 'cache', command=args.command_line,
                    threads=args.threads),
                Listener(
                    progress=lambda at, stage, done, total: display.progress(
                        at, names[at], stage, done, total),
                    row=display.row),
                stop).run()
        except (Cancelled, MeasurementCancelledError, ReadingCancelledError):
            tell('stopped; give the same command again to go on')
            return INTERRUPTED
        finally:
            display.close()
        return 0 if outcome is None else display.finish(outcome)


class _Flag:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:  # noqa: A003
        """Ask to stop."""
        self._set = True

    def __call__(self) -> bool:
        return self._set


class _Display(ABC):
    """Shows what happens; a subclass says how."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    @abstractmethod
    def progress(self, at: int, name: str, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a stage of step ``at`` are done."""

    @abstractmethod
    def row(self, row: StepRow) -> None:
        """Show a measured network."""

    def close(self) -> None:  # noqa: B027  (only a bar has something to do)
        """Leave the terminal as it was."""

    def finish(self, outcome: Outcome) -> int:
        """Say how it ended and return the exit status."""
        for sentence in outcome.verdict.reasons:
            tell(f'not accepted: {sentence}')
        if outcome.model is not None:
            tell(f'wrote {outcome.model} ({outcome.model.stat().st_size:,} bytes)')
        tell(f'report: {outcome.report}')
        return 0 if outcome.verdict.accepted else NOT_ACCEPTED


class _Bar(_Display):
    """A bar per stage on the terminal, and a line per measured network."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self._bar: Any = None
        self._label = ''

    def progress(self, at: int, name: str, stage: str, done: int, total: int) -> None:
        kind, _, detail = stage.partition(', ')
        label = f'step {at + 1} of {self._steps}, {name}: {kind}'
        if label != self._label:
            self.close()
            self._label = label
            self._bar = bar(label, total, initial=max(0, done - 1))
        self._bar.set_postfix_str(detail, refresh=False)
        self._bar.update(done - self._bar.n)

    def row(self, row: StepRow) -> None:
        self.close()
        tell(in_words(row))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._label = None, ''


class _Json(_Display):
    """One JSON object a line on stdout."""

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(steps)
        self._clock = clock
        self._stage: tuple[int, str] = (-1, '')
        self._start = (0.0, 0)
        self._shown = -1e9

    def progress(self, at: int, name: str, stage: str, done: int, total: int) -> None:
        now, kind = self._clock(), stage.partition(', ')[0]
        if (at, kind) != self._stage:
            self._stage, self._start, self._shown = (at, kind), (now, done - 1), -1e9
        if now - self._shown < 0.5 and done < total:
            return
        self._shown = now
        since, first = self._start
        rate = (now - since) / max(1, done - first)
        eta = round(rate * (total - done), 1) if done > first + 1 else None
        self._print({'event': 'progress', 'index': at, 'count': self._steps, 'step': name,
                     'stage': stage, 'done': done, 'total': total, 'eta_s': eta})

    def row(self, row: StepRow) -> None:
        self._print({'event': 'row', 'row': row.to_json()})

    def finish(self, outcome: Outcome) -> int:
        self._print({
            'event': 'finished', 'accepted': outcome.verdict.accepted,
            'model': None if outcome.model is None else str(outcome.model),
            'report': str(outcome.report), 'reasons': list(outcome.verdict.reasons)})
        return super().finish(outcome)

    @staticmethod
    def _print(values: dict[str, Any]) -> None:
        print(json.dumps(values), flush=True)


def in_words(row: StepRow) -> str:
    """Return a measured network as one line."""
    parts = [f'{row.file_bytes / 1e6:.2f} MB ({row.ratio:.1f}x)', f'{row.zeros:.0f} % zeros']
    if row.recall is not None and row.mean_average_precision is not None:
        parts += [f'recall@1 {row.recall:.3f}', f'mAP {row.mean_average_precision:.3f}']
    if row.agreement is not None:
        parts.append(f'agreement {row.agreement.top1:.3f}')
    if row.cosine is not None:
        parts.append(f'cosine {row.cosine:.4f}')
    parts.append(f'{row.latency_p50_ms:.1f} ms')
    return f'{row.step}: ' + ', '.join(parts)
