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

"""What the verb evaluate does with ``--live``: the node answers while the query is played."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path

from vpr_compressed.cli import options
from vpr_compressed.errors import ConfigError

MAP_SUFFIX = '.vprmap'
#: A live report does not mix with another one in the default folder.
OUT, LIVE_OUT = Path('out/evaluate'), Path('out/live')


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
    """Write the report of a live evaluation and print its numbers."""
    from vpr_compressed.offline.live.ros_processes import check_rclpy
    from vpr_compressed.offline.live.session import evaluate_live
    from vpr_compressed.offline.live.session import LiveEvaluation
    from vpr_compressed.offline.live.session import PAGE_NAME
    from vpr_compressed.offline.network.engines import load_extractor

    check_live_arguments(args)
    if args.live_record is None:
        check_rclpy()
    query = options.source_from(args, args.query, args.query_topic)
    reference = args.reference if args.reference.suffix == MAP_SUFFIX else options.source_from(
        args, args.reference, args.reference_topic, utm_zone=args.utm_zone)
    out = LIVE_OUT if args.out == OUT else args.out
    extractor = load_extractor(
        args.model[0] if args.model else None, engine=args.engine, threads=args.threads)
    rows = evaluate_live(
        LiveEvaluation(
            reference=reference, query=query, query_topic=args.query_topic or '',
            rate_hz=args.rate_hz, record=args.live_record, rate=args.rate, hz=args.hz or 0.0,
            wait_for_answer=args.wait_for_answer, image_transport=args.image_transport,
            domain_id=args.domain_id, threads=args.threads, out=out),
        extractor, command=args.command_line)
    for name, value in rows:
        print(f'{name:<28} {value}')
    print(f'report: {out / PAGE_NAME}')


def check_live_arguments(args: Namespace) -> None:
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
