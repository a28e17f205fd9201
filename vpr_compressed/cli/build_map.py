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

"""Turn an image folder or a bag into a map file."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path
import shlex

from vpr_compressed.cli import options
from vpr_compressed.system import terminal

EPILOG = """\
examples:
  vpr_compressed build-map walk1/ --out site.vprmap
  vpr_compressed build-map monday.mcap --out site.vprmap --topic /camera/image_raw/compressed \\
      --pose-topic /odometry/filtered --min-interval-s 1
  vpr_compressed build-map tuesday.mcap --out site.vprmap --append     another session

Every keyframe is written at once: ctrl-C or a power cut keeps what is mapped, and --append goes
on with a further session. The ROS node localises with the file: map_path:=site.vprmap"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    from vpr_compressed.recognizer import RecognizerConfig

    parser.epilog = EPILOG
    parser.add_argument('source', type=Path, help='image folder or ROS bag')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE.vprmap', help='map file to write')
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        '--append', action='store_true', help='add a session to the map file if it exists')
    existing.add_argument(
        '--overwrite', action='store_true', help='replace the map file if it exists')
    parser.add_argument('--topic', help='image topic of the bag, if it has several')
    options.add_pose_arguments(parser)
    parser.add_argument(
        '--min-interval-s', type=options.not_negative, default=0.0, metavar='S',
        help='shortest time between two places of the map, 0 to keep every image')
    parser.add_argument(
        '--thumbnail-width', type=int, default=RecognizerConfig().thumbnail_width, metavar='N',
        help='width in pixels of the small picture stored with each place, about 4 kB, for '
             '~/debug_image; 0 stores none')
    options.add_rate_argument(parser)
    options.add_model_arguments(parser)


def run(args: Namespace) -> int:
    """Map the source and say what became of it."""
    from vpr_compressed.offline.mapping import map_recording
    from vpr_compressed.offline.network.engines import load_extractor
    from vpr_compressed.recognizer import RecognizerConfig

    source = options.source_from(args, args.source, args.topic, utm_zone=args.utm_zone)
    extractor = load_extractor(args.model, engine=args.engine, threads=args.threads)
    config = RecognizerConfig(
        keyframe_min_interval_s=args.min_interval_s, thumbnail_width=args.thumbnail_width)
    mapped = map_recording(
        source, extractor, args.out, config=config, append=args.append, overwrite=args.overwrite)
    total = f', {mapped.total} in all' if mapped.total > mapped.added else ''
    places = f'mapped {mapped.added} places' if mapped.finished else (
        f'interrupted; kept the {mapped.added} places mapped so far')
    print(f'{places} from {source.describe()} in {mapped.seconds:.1f} s{total}')
    print(f'{args.out}: {terminal.human_bytes(args.out.stat().st_size)}')
    if not mapped.finished:
        command = shlex.join(['build-map', str(args.source), '--out', str(args.out), '--append'])
        print(f'add another session with: vpr_compressed {command}')
    return 0 if mapped.finished else 130
