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

"""``evaluate --live``: play a recording to the real node and compare with the offline answers."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_compressed.cli import options
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import MapFileError
from vpr_compressed.system import ros_processes
from vpr_compressed.system import terminal
from vpr_compressed.system.ros_processes import RosProcess
from vpr_compressed.system.ros_processes import running

if TYPE_CHECKING:
    from vpr_compressed.offline.measuring.live.answers import Comparison
    from vpr_compressed.place_map.place_map import PlaceMap
    from vpr_compressed.runtime.extractor import Extractor
    from vpr_compressed.sources import ImageSource

MAP_SUFFIX = '.vprmap'
PREFIX = 'live'
MARK = 'live.json'
#: ``live_page.FORMAT``, which is not imported before it is needed.
FORMAT = 'vpr_compressed live 1'
#: The default folder of evaluate holds its report, which does not mix with this one.
EVALUATE_OUT, LIVE_OUT = Path('out/evaluate'), Path('out/live')


def add_live_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of a live evaluation."""
    group = parser.add_argument_group(
        'live (the ROS 2 node answers while the query is played; default folder out/live)')
    group.add_argument('--live', action='store_true',
                       help='play the query to the node and compare with the offline answers; '
                       '--reference may be a map file (.vprmap) of this model')
    group.add_argument('--live-record', type=Path, metavar='FILE',
                       help='compare an existing record_path of replay.launch.py; --reference is '
                       'the map file it was played with')
    pace = group.add_mutually_exclusive_group()
    pace.add_argument('--rate', type=options.positive, default=1.0, metavar='X',
                      help='speed relative to the stamps')
    pace.add_argument('--hz', type=options.positive, metavar='HZ',
                      help='images per second whatever their stamps say')
    pace.add_argument('--wait-for-answer', action='store_true',
                      help='publish each image after the answer to the last, so none is dropped')
    group.add_argument('--image-transport', choices=('auto', 'raw', 'compressed'), default='auto',
                       help='auto: compressed where the query holds compressed images')
    group.add_argument('--domain-id', type=int, metavar='N',
                       help='ROS_DOMAIN_ID (default: one of its own)')


def run_live(args: Namespace) -> None:
    """Play, recognise the same images offline, and write what agrees."""
    from vpr_compressed.offline.network.engines import load_extractor

    check_arguments(args)
    out = LIVE_OUT if args.out == EVALUATE_OUT else args.out
    if args.live_record is None:
        ros_processes.check_rclpy()
    query = options.source_from(args, args.query, args.query_topic)
    model = args.model[0] if args.model else None
    extractor = load_extractor(model, engine=args.engine, threads=args.threads)
    prepare_folder(out)
    with ros_processes.termination_as_interrupt():
        map_path = find_map(args, extractor, out)
        record = args.live_record
        if record is None:
            record = out / 'live_answers.jsonl'
            play(args, query, extractor, map_path, record)
        found, transport = compare_offline(args, query, extractor, map_path, record)
    write(args, found, out, {
        'command': args.command_line, 'model': str(extractor.model_path),
        'engine': extractor.engine_name, 'descriptor_id': extractor.descriptor_id,
        'map': str(map_path), 'query': query.describe(), 'image_transport': transport,
        'recording': str(record)})


def check_arguments(args: Namespace) -> None:
    """
    Refuse what would be ignored.

    :raises ConfigError: no recordings, a ground truth, or a number that makes no sense
    """
    if args.reference is None or args.query is None or args.dataset is not None:
        raise ConfigError('--live plays a recording: give --query SRC and --reference SRC, image '
                          f'folders, ROS bags or a map file ({MAP_SUFFIX}), and no --dataset')
    if len(args.model or []) > 1:
        raise ConfigError('--live runs one node with one model; give --model once')
    if any(value is not None for value in (
            args.tolerance_frames, args.radius_m, args.ground_truth)):
        raise ConfigError('--live compares with the offline answers and needs no ground truth; '
                          'leave it out, and run evaluate without --live for the accuracy')
    if args.domain_id is not None and not 0 <= args.domain_id <= 101:
        raise ConfigError(f'--domain-id must lie in [0, 101], got {args.domain_id}')
    if args.live_record is not None and args.reference.suffix != MAP_SUFFIX:
        raise ConfigError('--live-record needs the map file that was played with as --reference, '
                          f'e.g. site{MAP_SUFFIX}; got {args.reference}')


def prepare_folder(out: Path) -> None:
    """
    Make the folder; an earlier run in it is replaced.

    :raises ConfigError: it holds other files, or cannot be made
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = [entry.name for entry in out.iterdir()]
        others = [name for name in names if not name.startswith(PREFIX)]
        if names and not others and not is_marked(out):
            others = names  # somebody's own live.vprmap, say
        if not names:
            # An interrupted run leaves its files, and the same command goes over them.
            (out / MARK).write_text(json.dumps({'format': FORMAT}) + '\n', encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'cannot make the folder {out}: {error.strerror}; choose another one '
                          'with --out') from error
    if others:
        raise ConfigError(f'{out} holds other files (e.g. {min(others)}); choose another folder '
                          'with --out, nothing was changed')


def is_marked(out: Path) -> bool:
    """Return whether a folder was made by a live evaluation."""
    try:
        values = json.loads((out / MARK).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get('format') == FORMAT


def find_map(args: Namespace, extractor: Extractor, out: Path) -> Path:
    """
    Return the map file; a recording is mapped here, as build-map does.

    Not by the node: both sides have to search one and the same map, and the node in mode
    mapping is what the demo shows.

    :raises MapFileError: damaged, missing or of another model
    """
    from vpr_compressed.offline.mapping import map_recording

    reference: Path = args.reference
    if reference.suffix == MAP_SUFFIX:
        open_map(reference, extractor).close()
        return reference
    source = options.source_from(
        args, reference, args.reference_topic, utm_zone=args.utm_zone)
    path = out / 'live.vprmap'
    if not map_recording(source, extractor, path, overwrite=True).finished:
        raise KeyboardInterrupt
    return path


def open_map(path: Path, extractor: Extractor) -> PlaceMap:
    """Open a map as the node does in mode localization."""
    from vpr_compressed.place_map.place_map import PlaceMap

    return PlaceMap.open(path, descriptor_id=extractor.descriptor_id, read_only=True)


def play(
    args: Namespace, query: ImageSource, extractor: Extractor, map_path: Path, record: Path
) -> None:
    """
    Run node and player until the whole query is played.

    :raises VprError: one of them failed; the text holds the end of its log
    """
    out = record.parent
    domain = ros_processes.domain_of_this_run() if args.domain_id is None else args.domain_id
    environment = ros_processes.node_environment(domain, (out / 'live_ros_log').resolve())
    transport = choose_transport(args, query)
    # As on the robot a camera's images may get lost; in lock-step each one counts.
    quality = 'reliable' if args.wait_for_answer else 'sensor_data'
    node = RosProcess(
        'the place_recognition node', ros_processes.NODE_MODULE, {
            'mode': 'localization', 'map_path': map_path.resolve(),
            'model_path': extractor.model_path.resolve(), 'engine': extractor.engine_name,
            'threads': args.threads, 'image_qos': quality, 'image_transport': transport,
            'image_timeout_s': 60.0}, environment=environment, log=out / 'live_node.log')
    with running(node):
        node.wait_for('active in mode localization')
        player = RosProcess(
            'the player', ros_processes.PLAYER_MODULE, {
                'source': query.path.resolve(), 'source_topic': args.query_topic or '',
                'source_rate_hz': args.rate_hz, 'image_transport': transport,
                'image_qos': quality, 'rate': 0.0 if args.wait_for_answer else args.rate,
                'hz': args.hz or 0.0, 'wait_for_answer': args.wait_for_answer,
                'publish_poses': False, 'wait_for_subscriber_s': 30.0,
                'record_path': record.resolve()},
            environment=environment, log=out / 'live_player.log')
        with running(player), terminal.progress(len(query), 'playing') as bar:
            player.wait_beside(node, lambda done: bar.update(done - bar.n))
            bar.update(len(query) - bar.n)


def choose_transport(args: Namespace, query: ImageSource) -> str:
    """Return how the images are sent."""
    if args.image_transport != 'auto':
        return str(args.image_transport)
    return 'raw' if next(iter(query)).encoded is None else 'compressed'


def compare_offline(
    args: Namespace, query: ImageSource, extractor: Extractor, map_path: Path, record: Path
) -> tuple[Comparison, str]:
    """
    Recognise the answered images offline, join, and return how they were sent too.

    :raises MapFileError: the recording was made with another model or map
    """
    from vpr_compressed.offline.measuring.live import answers
    from vpr_compressed.offline.measuring.live.replay import frame_keys
    from vpr_compressed.offline.measuring.live.replay import replay

    published = answers.read_recording(record)
    node = answers.read_node_counts(record)
    transport = choose_transport(args, query) if node is None else node.transport
    place_map = open_map(map_path, extractor)
    try:
        if node is not None and (node.descriptor_id, node.places) != (
                extractor.descriptor_id, len(place_map)):
            raise MapFileError(
                f'{record} was answered by model {node.descriptor_id} with {node.places} places; '
                f'{map_path} and the model here are {extractor.descriptor_id} with '
                f'{len(place_map)}; name the map and the --model it was played with')
        wanted = {p.key for p in published if p.answer is not None}
        with terminal.progress(len(wanted), 'offline') as bar:
            replayed = replay(query, wanted, extractor, place_map, transport=transport,
                              progress=bar.update)
    finally:
        place_map.close()
    return answers.compare(published, replayed, frame_keys(query), node), transport


def write(args: Namespace, found: Comparison, out: Path, setting: dict[str, object]) -> None:
    """Write JSON, picture and page, and print the table."""
    from vpr_compressed.offline.measuring.live import page
    from vpr_compressed.offline.reports.evaluation_report import write_files
    from vpr_compressed.system.machine import machine
    from vpr_compressed.system.machine import versions

    pace = 'one image after the other is answered' if args.wait_for_answer else (
        f'{args.hz:g} images per second' if args.hz else f'{args.rate:g} times the stamps')
    setting |= {'machine': machine(), 'versions': versions()}
    if args.live_record is None:
        setting['pace'] = pace
    plot = page.latency_plot(found)
    values = page.to_json(found, setting)
    write_files(out, {
        plot.name: plot.png(caption=True),
        'live.html': page.render(found, plot, setting).encode(),
        'live.json': (json.dumps(values, indent=1, allow_nan=False) + '\n').encode()})
    for name, value in page.rows(found):
        print(f'{name:<28} {value}')
    print(f'report: {out / "live.html"}')
