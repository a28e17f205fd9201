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

"""Time models and engines against each other on this machine."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import ArgumentTypeError
from argparse import Namespace
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.offline.measuring.race import Entrant

EPILOG = """\
examples:
  vpr_compressed benchmark                               the packaged model on all engines
  vpr_compressed benchmark --model site.vpr parent.vpr --engines onnxruntime --threads 1 2
  vpr_compressed benchmark --json out/benchmark.json     for programs

Every model and engine runs in a process of its own, and they take turns image by image, so that
a busy machine slows all of them alike. Times are from a 640x480 image in memory to its
descriptor; "faster" compares with the first line. Memory is what library, model and first image
add to a process. "cosine" is the lowest to the first line's descriptors of four made-up images,
where the descriptors have one size. torch is the float reference, not an engine for a robot."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument(
        '--model', type=Path, nargs='+', default=[], metavar='FILE.vpr',
        help='model files, or default and small for those in the package (default: default)')
    parser.add_argument(
        '--engines', nargs='+', default=[], metavar='NAME',
        help='onnxruntime, openvino, opencv, torch, or one of the first two with -float behind '
             'it (default: all that are installed)')
    parser.add_argument(
        '--threads', type=_threads, nargs='+', default=[0], metavar='N',
        help='threads of the engine, 0 for all cores (default: 0)')
    parser.add_argument(
        '--images', type=_count, default=30, metavar='N', help='images each of them describes')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the numbers here')


def run(args: Namespace) -> int:
    """Race, then print the table."""
    from vpr_compressed.errors import VprError
    from vpr_compressed.offline.measuring.race import race
    from vpr_compressed.offline.measuring.race import table

    runners = entrants(args)
    with terminal.bar() as bar:
        def progress(stage: str, done: int, total: int) -> None:
            bar.set_description(stage, refresh=False)
            bar.total = total
            bar.update(done - bar.n)
        results = race(runners, rounds=args.images, progress=progress)
    print(table(results))
    if args.json is not None:
        try:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(
                [result.to_json() for result in results], indent=1), encoding='utf-8')
        except OSError as error:
            raise VprError(f'cannot write {args.json}: {error.strerror}') from error
    return 0 if any(not result.error for result in results) else 1


def entrants(args: Namespace) -> list[Entrant]:
    """
    Return who takes part.

    :raises VprError: for a model file that cannot be used, or an unknown engine
    """
    from vpr_compressed.model_file.model import find_model
    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.offline.measuring.race import Entrant
    from vpr_compressed.offline.network.engines import ALL_ENGINES

    models = [find_model(model) for model in args.model or [None]]
    engines = args.engines or ALL_ENGINES.installed()
    for engine in engines:
        ALL_ENGINES.check(engine)
    for model in models:
        read_model(model)
    return [Entrant(name=model.stem, model=model, engine=engine, threads=threads)
            for model in models for engine in engines for threads in args.threads]


def _threads(text: str) -> int:
    """Return a number of threads, for argparse."""
    return _number(text, 0)


def _count(text: str) -> int:
    """Return a number of images, for argparse."""
    return _number(text, 1)


def _number(text: str, least: int) -> int:
    """Return a whole number of at least ``least``."""
    if not text.isdecimal() or int(text) < least:
        raise ArgumentTypeError(f'{text!r} is not a whole number from {least}')
    return int(text)
