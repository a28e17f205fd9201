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
``vpr_compressed VERB``: choose the verb, turn expected errors into one line.

To add a verb, write ``cli/<verb>.py`` (an underscore for a hyphen) with ``add_arguments`` and
``run``, and add its line to :data:`VERBS`. A verb's module is imported only when it is used, so
that ``--help`` is quick and needs none of the libraries.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from importlib import import_module
import logging
import os
import shlex
import signal
import sys

from vpr_compressed.cli.options import HelpLayout
from vpr_compressed.errors import VprError
from vpr_compressed.system.processes import INTERRUPTED

#: Verb -> one line of help.
VERBS = {
    'demo': 'map a walk, recognise a second one, and draw what was right and wrong',
    'build-map': 'turn an image folder or a bag into a map file',
    'evaluate': 'measure recall, precision, latency and memory on two recordings',
    'calibrate': 'fit how sure a place must be, to labelled walks or to an own site',
    'train': 'fine-tune a NetVLAD network on labelled images (needs the train extra: torch)',
    'compress': 'prune and quantize a model by a recipe (needs the train extra: torch)',
    'import-weights':
        'turn published NetVLAD weights into a model file (needs the train extra: torch)',
    'export': 'write a model as ONNX or as PyTorch tensors for other software',
    'inspect': 'show what is in a model or map file',
    'benchmark': 'time models and engines against each other on this machine',
}
EPILOG = """\
examples:
  vpr_compressed demo                                   see it work
  vpr_compressed build-map walk1/ --out site.vprmap     map a walk (image folder or ROS bag)
  vpr_compressed evaluate --reference walk1/ --query walk2.mcap --tolerance-frames 2 --out out/e
  vpr_compressed inspect site.vprmap

"vpr_compressed VERB --help" explains a verb. Every verb works without a network."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one verb.

    SIGTERM ends it as ctrl-C does. Where SIGINT was inherited as ignored, as in a background
    job, it stays ignored.

    :param argv: arguments without the program name, those of the process when None
    :returns: 0 success, 1 expected error (one line on stderr), 130 interrupted
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((argument for argument in arguments if not argument.startswith('-')), '')
    parser = make_parser(verb)
    args = parser.parse_args(arguments)
    args.command_line = shlex.join(['python', '-m', 'vpr_compressed', *arguments])
    logging.basicConfig(format='%(levelname)s: %(message)s', level=logging.WARNING)
    try:
        with _termination_as_interrupt():
            return args.run(args) or 0
    except VprError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, a pager) has gone; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def make_parser(verb: str) -> ArgumentParser:
    """
    Return the parser; only the arguments of one verb are filled in.

    :param verb: the verb whose module is imported, '' or unknown for none
    """
    parser = ArgumentParser(
        prog='vpr_compressed', formatter_class=HelpLayout, epilog=EPILOG,
        description='Recognise places in camera images with a small, fast, compressed network.')
    verbs = parser.add_subparsers(title='verbs', metavar='VERB', required=True)
    for name, text in VERBS.items():
        sub = verbs.add_parser(
            name, help=text, description=f'{text[0].upper()}{text[1:]}.',
            formatter_class=HelpLayout, allow_abbrev=False)
        if name == verb:
            module = import_module(f'vpr_compressed.cli.{name.replace("-", "_")}')
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise ``KeyboardInterrupt``: children are ended, half-written files removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == '__main__':
    sys.exit(main())
