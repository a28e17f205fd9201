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

"""Render the frames of the demo anew: ``python -m tools.made_up_town``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
import sys

from tools.made_up_town import laps

from vpr_compressed.errors import VprError
from vpr_compressed.offline.demo.made_up_town import FRAMES
from vpr_compressed.system import terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Render both laps into two image folders with poses; 1 if that fails."""
    parser = ArgumentParser(
        prog='python -m tools.made_up_town',
        description='Render two laps through a made-up town, one on a bright morning and one in '
        'the evening, into the folders reference/ and query/ with a poses.csv each.')
    parser.add_argument('--out', type=Path, default=FRAMES, metavar='DIR',
                        help='where to (default: the frames that the demo is packaged with)')
    parser.add_argument('--frames', type=int, nargs=2, metavar=('N1', 'N2'),
                        default=(laps.FIRST_FRAMES, laps.SECOND_FRAMES),
                        help='images per lap (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=laps.SEED,
                        help='another number, another town (default: %(default)s)')
    args = parser.parse_args(arguments)
    first, second = args.frames
    if min(first, second) < 2:
        parser.error(f'--frames needs at least 2 images per lap, got {first} and {second}')
    try:
        with terminal.progress(first + second, 'rendering') as bar:
            folders = laps.write_world(
                args.out, first_frames=first, second_frames=second, seed=args.seed,
                progress=lambda done: bar.update(done - bar.n))
    except VprError as error:
        sys.stderr.write(f'error: {error}\n')
        return 1
    sys.stdout.write(''.join(f'{folder}\n' for folder in folders))
    return 0


if __name__ == '__main__':
    sys.exit(main())
