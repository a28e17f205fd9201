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
import time
from typing import TYPE_CHECKING

from vpr_compressed.cli import options
from vpr_compressed.errors import MapFileError
from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.place_map.place_map import PlaceMap
    from vpr_compressed.recognizer import Recognizer
    from vpr_compressed.runtime.extractor import Extractor
    from vpr_compressed.sources import ImageSource

NAME = 'build-map'
HELP = 'turn an image folder or a bag into a map file'
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
    options.add_rate_argument(parser)
    options.add_model_arguments(parser)


def run(args: Namespace) -> int:
    """Map the source and say what became of it."""
    from vpr_compressed.offline.network.engines import load_extractor

    source = options.source_from(args, args.source, args.topic, utm_zone=args.utm_zone)
    extractor = load_extractor(args.model, engine=args.engine, threads=args.threads)
    place_map = open_map(args.out, extractor, append=args.append, overwrite=args.overwrite)
    try:
        place_map.begin_session(args.source.name)
        known = len(place_map)
        start = time.monotonic()
        finished = add_places(
            source, make_recognizer(extractor, place_map, args.min_interval_s))
        seconds = time.monotonic() - start
        added = len(place_map) - known
    finally:
        place_map.close()
    total = f', {known + added} in all' if known else ''
    places = f'mapped {added} places' if finished else (
        f'interrupted; kept the {added} places mapped so far')
    print(f'{places} from {source.describe()} in {seconds:.1f} s{total}')
    print(f'{args.out}: {terminal.human_bytes(args.out.stat().st_size)}')
    if not finished:
        command = shlex.join(['build-map', str(args.source), '--out', str(args.out), '--append'])
        print(f'add another session with: vpr_compressed {command}')
    return 0 if finished else 130


def open_map(path: Path, extractor: Extractor, *, append: bool, overwrite: bool) -> PlaceMap:
    """
    Create the map file, or open it to add to it.

    :raises MapFileError: it exists and neither is wanted, or belongs to another model
    """
    from vpr_compressed.place_map.place_map import PlaceMap

    if path.exists() and append:
        return PlaceMap.open(path, descriptor_id=extractor.descriptor_id, read_only=False)
    if path.exists() and not overwrite:
        raise MapFileError(
            f'{path} exists already; add to it with --append, replace it with --overwrite, or '
            'choose another name')
    return PlaceMap.create(
        path, descriptor_id=extractor.descriptor_id, dimension=extractor.dimension,
        model_name=extractor.model_name, overwrite=overwrite)


def make_recognizer(
    extractor: Extractor, place_map: PlaceMap, min_interval_s: float
) -> Recognizer:
    """Return a recogniser that only maps."""
    from vpr_compressed.recognizer import Recognizer
    from vpr_compressed.recognizer import RecognizerConfig

    config = RecognizerConfig(
        keyframe_min_interval_s=min_interval_s, keyframe_min_distance_m=0.0)
    recognizer = Recognizer(extractor, place_map, config)
    recognizer.mapping, recognizer.localization = True, False
    return recognizer


def add_places(source: ImageSource, recognizer: Recognizer) -> bool:
    """
    Send every image through the recogniser.

    :returns: False when the user interrupted; the places so far are in the map
    """
    try:
        with terminal.progress(len(source), 'mapping') as bar:
            for frame in source:
                recognizer.process(
                    frame.load(at_least=recognizer.input_size), stamp_ns=frame.stamp_ns,
                    pose=frame.pose, name=frame.name)
                bar.update()
    except KeyboardInterrupt:
        return False
    return True
