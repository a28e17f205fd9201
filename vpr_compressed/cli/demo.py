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
from dataclasses import dataclass
import math
from pathlib import Path
import sys
import time
from typing import TYPE_CHECKING

from vpr_compressed.cli import options
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ModelFileError
from vpr_compressed.offline.live import ros_processes
from vpr_compressed.offline.live.ros_processes import RosProcess
from vpr_compressed.offline.live.ros_processes import running
from vpr_compressed.system import terminal

if TYPE_CHECKING:
    from vpr_compressed.offline.demo.outcome import Answers
    from vpr_compressed.offline.demo.outcome import Outcome
    from vpr_compressed.offline.demo.outcome import Track
    from vpr_compressed.offline.demo.outcome import Truth
    from vpr_compressed.sources import ImageSource

NAME = 'demo'
HELP = 'map a walk, recognise a second one, and draw what was right and wrong'
EPILOG = """\
examples:
  vpr_compressed demo                                    two laps through a made-up town
  vpr_compressed demo --reference walk1/ --query walk2/  your own image folders or ROS bags

Without --reference and --query a town is rendered on the spot: one lap on a bright morning, one
in the evening, shifted sideways, with a detour the first lap never saw. Either way the images
are published over DDS to the lifecycle node in a process of its own, first in mode mapping, then
in mode localization. With your own data nothing has to be known; --radius-m (poses in poses.csv,
or --pose-topic of a bag) or --tolerance-frames says what counts as right."""
#: The made-up town: two metres or less from image to image.
FIRST_FRAMES, SECOND_FRAMES, RADIUS_M = 125, 150, 8.0


@dataclass(frozen=True)
class Session:
    """What all steps of one run share."""

    out: Path
    environment: dict[str, str]
    model: Path
    threads: int
    player: dict[str, object]


@dataclass(frozen=True)
class Measured:
    """What was measured beside the answers."""

    outcome: Outcome
    places: int
    model_bytes: int
    map_bytes: int
    node_bytes: int

    @property
    def headline(self) -> str:
        """Return the result in one line."""
        outcome = self.outcome
        if outcome.truth is None:
            return f'{int(outcome.answers.accepted.sum())} of {len(outcome.query)} images matched'
        return (f'{outcome.count("right")} of {int(outcome.truth.known.sum())} known places '
                f'recognised, {outcome.count("wrong")} wrong, '
                f'{outcome.count("unknown")} of {int((~outcome.truth.known).sum())} unknown '
                'ones withheld')


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument('--out', type=Path, default=Path('out/demo'), metavar='DIR',
                        help='folder for images, map, answers, logs and the picture')
    own = parser.add_argument_group('your own images')
    own.add_argument('--reference', type=Path, metavar='SRC', help='image folder or bag to map')
    own.add_argument('--query', type=Path, metavar='SRC', help='image folder or bag to recognise')
    own.add_argument('--topic', help='image topic of the bags, if they have several')
    own.add_argument('--pose-topic', help='topic of the bags with poses')
    options.add_rate_argument(own)
    truth = own.add_mutually_exclusive_group()
    truth.add_argument(
        '--radius-m', type=options.positive, metavar='M',
        help=f'a match is right within so many metres (the made-up town: {RADIUS_M:g})')
    truth.add_argument(
        '--tolerance-frames', type=int, metavar='N',
        help='a match is right within so many images, where image i of both shows one place')
    parser.add_argument('--frames', type=int, nargs=2, default=(FIRST_FRAMES, SECOND_FRAMES),
                        metavar=('N1', 'N2'), help='images per lap of the made-up town')
    parser.add_argument('--seed', type=int, default=7, help='another number, another town')
    parser.add_argument('--domain-id', type=int, metavar='N',
                        help='ROS_DOMAIN_ID (default: one of its own)')
    parser.add_argument('--model', type=Path, metavar='FILE.vpr',
                        help='model file, or small (default: the default one in the package)')
    parser.add_argument('--threads', type=int, default=0, metavar='N',
                        help='threads of the engine, 0 for its own choice')


def run(args: Namespace) -> int:
    """Run the demo; 1 when the made-up town is not recognised as it should be."""
    made_up = check_arguments(args)
    session = make_session(args)
    start = time.monotonic()
    first, second = render(args) if made_up else (args.reference, args.query)
    sources = (options.source_from(args, first, args.topic),
               options.source_from(args, second, args.topic))
    measured = play_both(session, *sources, args)
    picture = draw(args, measured, made_up=made_up)
    print_table(measured, args.out, picture, time.monotonic() - start)
    problems = measured.outcome.failures() if made_up else []
    for problem in problems:
        print(f'FAILED: {problem}', file=sys.stderr)
    if made_up:
        print('demo failed' if problems else 'demo succeeded')
    return 1 if problems else 0


def check_arguments(args: Namespace) -> bool:
    """
    Return whether the made-up town is wanted.

    :raises ConfigError: only one of the two recordings is named, or a number makes no sense
    """
    if (args.reference is None) != (args.query is None):
        raise ConfigError('the demo with your own images needs both --reference and --query; '
                          'leave both out for the made-up town')
    if min(args.frames) < 2:
        raise ConfigError(f'--frames needs at least 2 images per lap, got {args.frames}')
    if args.domain_id is not None and not 0 <= args.domain_id <= 101:
        raise ConfigError(f'--domain-id must lie in [0, 101], got {args.domain_id}')
    if args.tolerance_frames is not None and args.tolerance_frames < 0:
        raise ConfigError(f'--tolerance-frames must not be negative, got {args.tolerance_frames}')
    return args.reference is None


def make_session(args: Namespace) -> Session:
    """
    Prepare the output folder and the surroundings of the nodes.

    :raises VprError: no rclpy, no model, or no folder to write to
    """
    from vpr_compressed.model_file.model import find_model

    ros_processes.check_rclpy()
    model = find_model(args.model)
    if not model.is_file():
        raise ModelFileError(f'there is no model file {model}; name one with --model')
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'cannot make the folder {args.out}: {error.strerror}; choose another '
                          'one with --out') from error
    domain = ros_processes.domain_of_this_run() if args.domain_id is None else args.domain_id
    return Session(
        args.out, ros_processes.node_environment(domain, args.out / 'ros_log'), model.resolve(),
        args.threads, {
            'source_topic': args.topic or '', 'source_pose_topic': args.pose_topic or '',
            'source_rate_hz': args.rate_hz, 'wait_for_answer': True, 'rate': 0.0,
            'answer_timeout_s': 20.0, 'wait_for_subscriber_s': 30.0})


def render(args: Namespace) -> tuple[Path, Path]:
    """Render both laps through the made-up town."""
    from vpr_compressed.offline.demo.laps import write_world

    first, second = args.frames
    say(f'rendering two laps through a made-up town, {first} + {second} images')
    with terminal.progress(first + second, 'rendering') as bar:
        def update(done: int) -> None:
            bar.update(done - bar.n)

        return write_world(args.out, first_frames=first, second_frames=second, seed=args.seed,
                           progress=update)


def play_both(
    session: Session, reference: ImageSource, query: ImageSource, args: Namespace
) -> Measured:
    """Map the first recording, localise on the second, and judge the answers."""
    from vpr_compressed.offline.demo import outcome

    tracks = outcome.Track.of(reference), outcome.Track.of(query)
    place_map = session.out / 'demo.vprmap'
    for file in session.out.glob('demo.vprmap*'):
        file.unlink()
    play(session, reference, 'mapping', place_map, with_poses=tracks[0].positions_m is not None)
    node_bytes = play(session, query, 'localization', place_map, with_poses=False)
    answers = outcome.read_answers(session.out / 'localization.jsonl', *tracks)
    return Measured(
        outcome.Outcome(*tracks, answers, find_truth(args, tracks, answers)),
        count_places(place_map), session.model.stat().st_size, place_map.stat().st_size,
        node_bytes)


def play(
    session: Session, source: ImageSource, mode: str, place_map: Path, *, with_poses: bool
) -> int:
    """
    Run node and player until the whole recording is answered.

    :param mode: of the node; its log and the answers get this name
    :param with_poses: give the places of the map the poses of the recording
    :returns: resident memory of the node in bytes, at the end
    :raises VprError: one of them failed; the text holds the end of its log
    """
    import psutil

    say(f'{mode}: the node answers {len(source)} images, one by one over DDS')
    node = RosProcess(
        'the place_recognition node', ros_processes.NODE_MODULE, {
            'mode': mode, 'map_path': place_map.resolve(), 'model_path': session.model,
            'threads': session.threads, 'image_qos': 'reliable', 'image_timeout_s': 60.0,
            'pose_source': 'topic_pose' if with_poses else 'none'},
        environment=session.environment, log=session.out / f'{mode}_node.log')
    with running(node):
        node.wait_for(f'active in mode {mode}')
        player = RosProcess(
            'the player', ros_processes.PLAYER_MODULE, {
                **session.player, 'source': source.path.resolve(), 'publish_poses': with_poses,
                'record_path': (session.out / f'{mode}.jsonl').resolve()},
            environment=session.environment, log=session.out / f'{mode}_player.log')
        with running(player), terminal.progress(len(source), mode) as bar:
            player.wait_beside(node, lambda done: bar.update(done - bar.n))
            bar.update(len(source) - bar.n)
        return int(psutil.Process(node.pid).memory_info().rss)


def count_places(place_map: Path) -> int:
    """Return how many places the node has left in the map file."""
    from vpr_compressed.place_map.place_map import PlaceMap

    store = PlaceMap.open(place_map)
    try:
        return len(store)
    finally:
        store.close()


def find_truth(args: Namespace, tracks: tuple[Track, Track], answers: Answers) -> Truth | None:
    """
    Return what is right, or None where nobody can know.

    :raises ConfigError: a radius is given, but no positions
    """
    from vpr_compressed.offline.demo import outcome

    if args.tolerance_frames is not None:
        return outcome.truth_from_frames(tracks[0], answers, args.tolerance_frames)
    truth = outcome.truth_from_positions(*tracks, answers, args.radius_m or RADIUS_M)
    if truth is None and args.radius_m is not None:
        raise ConfigError('--radius-m needs a pose for every image of both recordings: put a '
                          'poses.csv into the folders, or name the --pose-topic of the bags')
    return truth


def draw(args: Namespace, measured: Measured, *, made_up: bool) -> Path:
    """Draw the route, or the order of the images where there are no positions."""
    from vpr_compressed.offline.demo import picture

    outcome = measured.outcome
    has_route = (outcome.truth is not None and outcome.reference.positions_m is not None
                 and outcome.query.positions_m is not None)
    path: Path = args.out / ('demo_route.png' if has_route else 'demo_order.png')
    if has_route:
        picture.draw_route(outcome, path, title=measured.headline, town=made_up)
    else:
        picture.draw_order(outcome, path, title=measured.headline)
    pairs = picture.examples(outcome, 4) if made_up else []
    if pairs:
        files = [sorted((args.out / name).glob('*.jpg')) for name in ('reference', 'query')]
        picture.montage([files[0][mapped] for mapped, _ in pairs],
                        [files[1][seen] for _, seen in pairs], args.out / 'demo_frames.jpg')
    return path


def print_table(measured: Measured, out: Path, picture: Path, seconds: float) -> None:
    """Print what came out."""
    outcome = measured.outcome
    rows = [
        ('images', f'{len(outcome.reference)} mapped into {measured.places} places, '
         f'{len(outcome.query)} looked up'),
        ('matches accepted', str(int(outcome.answers.accepted.sum())))]
    if outcome.truth is not None:
        known = int(outcome.truth.known.sum())
        rows += [
            ('  right', f'{outcome.count("right")}  ({outcome.truth.rule})'),
            ('  wrong', str(outcome.count('wrong'))),
            ('withheld', f'{outcome.count("missed")} of {known} places in the map'),
            ('withheld, unknown', f'{outcome.count("unknown")} of {len(outcome.query) - known} '
             'places the map does not have'),
            ('precision', percent(outcome.precision)), ('recall', percent(outcome.recall)),
            ('recall@1', f'{percent(outcome.first_right)} before agreement over time')]
    rows += [
        ('latency', f'p50 {outcome.latency_ms(50):.0f} ms, p95 {outcome.latency_ms(95):.0f} ms, '
         'from publishing an image to its answer'),
        ('model', terminal.human_bytes(measured.model_bytes)),
        ('map file', terminal.human_bytes(measured.map_bytes)),
        ('node memory', f'{terminal.human_bytes(measured.node_bytes)} resident, ROS 2 included'),
        ('time', f'{seconds:.0f} s'), ('picture', str(picture)),
        ('answers, logs', f'{out}/')]
    print()
    for name, value in rows:
        print(f'{name:<19}{value}')
    print()


def percent(share: float) -> str:
    """Return a share for people; NaN is one of nothing."""
    return 'none' if math.isnan(share) else f'{share:.1%}'


def say(text: str) -> None:
    """Tell the user what happens now."""
    print(text, flush=True)
