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


"""Map one run with the real ROS 2 node, recognise a second one, and show how well that went."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
import sys
import time

from vpr_compressed.cli import options

EPILOG = """\
examples:
  vpr_compressed demo                                    two laps through a made-up town
  vpr_compressed demo --reference walk1/ --query walk2/  your own image folders or ROS bags

Without --reference and --query two laps through a made-up town are shown: one on a bright morning,
one in the evening, shifted sideways, with a detour the first lap never saw. Either way the images
are published over DDS to the lifecycle node in a process of its own, first in mode mapping, then
in mode localization. With your own data nothing has to be known; --radius-m (poses in poses.csv,
or --pose-topic of a bag) or --tolerance-frames says what counts as right."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument('--out', type=Path, default=Path('out/demo'), metavar='DIR',
                        help='folder for map, answers, logs and the picture')
    own = parser.add_argument_group('your own images')
    own.add_argument('--reference', type=Path, metavar='SRC', help='image folder or bag to map')
    own.add_argument('--query', type=Path, metavar='SRC', help='image folder or bag to recognise')
    own.add_argument('--topic', help='image topic of the bags, if they have several')
    own.add_argument('--pose-topic', help='topic of the bags with poses')
    options.add_rate_argument(own)
    truth = own.add_mutually_exclusive_group()
    truth.add_argument(
        '--radius-m', type=options.positive, metavar='M',
        help='a match is right within so many metres (default, where there are poses: 8)')
    truth.add_argument(
        '--tolerance-frames', type=int, metavar='N',
        help='a match is right within so many images, where image i of both shows one place')
    parser.add_argument('--domain-id', type=int, metavar='N',
                        help='ROS_DOMAIN_ID (default: one of its own)')
    parser.add_argument('--model', type=Path, metavar='FILE.vpr',
                        help='model file, or small (default: the default one in the package)')
    parser.add_argument('--threads', type=int, default=0, metavar='N',
                        help='threads of the engine, 0 for its own choice')


def run(args: Namespace) -> int:
    """Run the demo; 1 when the made-up town is not recognised as it should be."""
    from vpr_compressed.offline.demo.session import DemoConfig
    from vpr_compressed.offline.demo.session import DemoSession

    session = DemoSession(DemoConfig(**{
        field.name: getattr(args, field.name) for field in fields(DemoConfig)}))
    start = time.monotonic()
    result = session.run()
    picture = session.draw(result)
    rows = [*result.rows(), ('time', f'{time.monotonic() - start:.0f} s'),
            ('picture', str(picture)), ('answers, logs', f'{args.out}/')]
    print('', *(f'{name:<19}{value}' for name, value in rows), '', sep='\n')
    if args.reference is not None:
        return 0
    problems = result.judged.failures() if result.judged is not None else []
    for problem in problems:
        print(f'FAILED: {problem}', file=sys.stderr)
    print('demo failed' if problems else 'demo succeeded')
    return 1 if problems else 0
