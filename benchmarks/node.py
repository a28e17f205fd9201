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
The whole node under a camera of 30 images a second, over real DDS: latency, losses, CPU, memory.

For every case a node and a camera run in processes of their own. The camera publishes serialised
images, as a driver in C++ does, each stamped with the time just before. A match is timed by the
stamp DDS gives it when the node writes it. The map has 10 000 places. "beyond inference" is the
median from image stamp to match published less the median inference: transport, decoding,
search and publishing. Writes ``docs/node_timing.md``.

    python -m benchmarks.node                       all cases, 20 seconds each
    python -m benchmarks.node --soak 600            an engine slowed to 200 ms, for ten minutes
"""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from argparse import RawDescriptionHelpFormatter
from contextlib import closing
from contextlib import suppress
import json
import os
from pathlib import Path
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any
from typing import NamedTuple

import numpy as np
import psutil

from vpr_compressed.offline.live.ros_processes import domain_of_this_run
from vpr_compressed.offline.live.ros_processes import node_environment
from vpr_compressed.offline.live.ros_processes import NODE_MODULE
from vpr_compressed.offline.live.ros_processes import RosProcess

ROOT = Path(__file__).resolve().parents[1]
RATE_HZ = 30.0
PLACES = 10_000
SLOW_S = 0.2
PROFILES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
ANSWERS = '/place_recognition/matches'


class Case(NamedTuple):
    """
    What the camera sends.

    :param transport: ``raw`` or ``compressed`` (JPEG)
    :param profile: whether ``config/fastdds_large_images.xml`` is used
    """

    width: int
    height: int
    transport: str
    profile: bool

    def __str__(self) -> str:
        kind = 'raw' if self.transport == 'raw' else 'JPEG'
        return f'{self.width}x{self.height} {kind}'


CASES = tuple(Case(*shape, profile) for shape in (
    (640, 480, 'raw'), (640, 480, 'compressed'), (1280, 720, 'raw')) for profile in (True, False))


def main() -> int:
    """Run all cases, or one half of one."""
    args = parse_arguments()
    if args.camera is not None:
        print(json.dumps(camera(Case(*json.loads(args.camera)), args.seconds)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix='vpr_node_') as name:
        folder = Path(name)
        make_map(folder / 'site.vprmap')
        if args.soak:
            print(json.dumps(run(CASES[0], args.soak, folder, args.threads, soak=True), indent=1))
            return 0
        for case in CASES:
            rows.append((case, run(case, args.seconds, folder, args.threads)))
            print(case, json.dumps(rows[-1][1]), flush=True)
    args.page.write_text(as_markdown(rows, args), encoding='utf-8')
    print(f'wrote {args.page}')
    return 0


def parse_arguments() -> Namespace:
    """Return the command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=20.0, help='default: %(default)s')
    parser.add_argument('--threads', type=int, default=1,
                        help='threads of the engine; the camera needs a core, too '
                             '(default: %(default)s)')
    parser.add_argument('--soak', type=float, default=0.0, metavar='SECONDS',
                        help='instead: one case, with an engine that takes 200 ms an image')
    parser.add_argument('--page', type=Path, default=ROOT / 'docs' / 'node_timing.md')
    parser.add_argument('--camera', help='for this program itself')
    return parser.parse_args()


def make_map(path: Path) -> None:
    """Write a map of random places that belongs to the packaged model."""
    from vpr_compressed.model_file.model import default_model_path
    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.place_map.place_map import PlaceMap

    model = read_model(default_model_path())
    random = np.random.default_rng(0)
    with PlaceMap.create(path, descriptor_id=model.descriptor_id,
                         dimension=model.spec.dimension, model_name='default') as site:
        site.begin_session('random')
        for number in range(PLACES):
            row = random.standard_normal(model.spec.dimension).astype(np.float32)
            site.add(row / np.linalg.norm(row), stamp_ns=number)


def run(
    case: Case, seconds: float, folder: Path, threads: int, *, soak: bool = False
) -> dict[str, Any]:
    """Run node and camera and return what was measured."""
    environment = node_environment(domain_of_this_run(), folder / 'ros')
    if not case.profile:
        for name in PROFILES:
            environment.pop(name, None)
    module = 'benchmarks.node' if soak else NODE_MODULE
    log = folder / 'node.log'
    node = RosProcess('place_recognition', module, {
        'mode': 'localization', 'map_path': str(folder / 'site.vprmap'), 'threads': threads,
        'image_transport': case.transport, 'engine': 'auto'},
        environment={**environment, 'VPR_SLOW_NODE': '1'} if soak else environment, log=log)
    with closing(node):
        node.wait_for('active in mode')
        process = psutil.Process(node.pid)
        watched = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, '-m', 'benchmarks.node', '--camera', json.dumps(case), '--seconds',
             str(seconds)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        samples: list[tuple[float, int, float]] = []
        peak = 0
        try:
            while watched.poll() is None:
                samples.append((time.monotonic(), process.memory_info().rss,
                                sum(process.cpu_times()[:2])))
                peak = peak_of(node.pid)
                time.sleep(0.2)
        except (psutil.Error, OSError, StopIteration):
            pass  # the node has ended: said below
        finally:
            watched.kill()
            output = watched.communicate()[0]
    if watched.returncode != 0 or not output.strip():
        raise SystemExit(f'node or camera failed; the node said\n{log.read_text()[-2000:]}')
    found = json.loads(output.strip().splitlines()[-1])
    begin, end = found.pop('begin_s'), found.pop('end_s')
    # Start-up and the wait for the last answers are no part of it.
    within = [sample for sample in samples if begin <= sample[0] <= end]
    used, took = within[-1][2] - within[0][2], within[-1][0] - within[0][0]
    late = [held for at, held, _ in within if at - begin > min(60.0, seconds / 2)]
    return {
        **found, 'cpu_percent': 100 * used / took,
        'resident_bytes': within[-1][1], 'peak_resident_bytes': peak,
        'late_change_bytes': max(late) - min(late)}


def peak_of(pid: int) -> int:
    """Return the most memory a process has held since it began, configure included."""
    lines = Path(f'/proc/{pid}/status').read_text(encoding='ascii').splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))


class Answers:
    """What the node says: matches with their latency, and its own counters."""

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import PointCloud2

        from vpr_compressed.ros.qos import results

        self.latency_ms: dict[int, float] = {}
        self.values: dict[str, str] = {}
        node.create_subscription(PointCloud2, ANSWERS, self._answered, results(100))
        node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 10)

    def numbers(self, sent: int) -> dict[str, Any]:
        """Return counts and milliseconds."""
        times = np.array(list(self.latency_ms.values()) or [np.nan])
        p50, p99 = np.nanpercentile(times, [50, 99])
        inference = float(self.values.get('inference_ms_p50', 'nan'))
        received = int(self.values.get('received', -1))
        return {
            'sent': sent, 'received': received, 'lost': sent - received,
            'dropped': int(self.values.get('dropped', -1)), 'answered': len(self.latency_ms),
            'p50_ms': float(p50), 'p99_ms': float(p99), 'max_ms': float(np.nanmax(times)),
            'inference_ms': inference, 'beyond_ms': float(p50) - inference,
            'engine': self.values.get('engine', '')}

    def _answered(self, message: Any, info: Any) -> None:
        from vpr_compressed.sources.frames import stamp_to_ns

        stamp = stamp_to_ns(message.header.stamp)
        self.latency_ms[stamp] = (info['source_timestamp'] - stamp) / 1e6

    def _diagnosed(self, message: Any) -> None:
        for status in message.status:
            self.values.update((item.key, item.value) for item in status.values)


def camera(case: Case, seconds: float) -> dict[str, Any]:
    """Publish images at a steady rate, wait for the answers, and return the numbers."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.serialization import serialize_message

    from vpr_compressed.ros.qos import newest_only

    rclpy.init()
    node = rclpy.create_node('camera')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    answers, message = Answers(node), picture(case)
    serialised = bytearray(serialize_message(message))
    publisher = node.create_publisher(
        type(message), '/image' if case.transport == 'raw' else '/image/compressed',
        newest_only('sensor_data'))

    def spin(until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)

    while not (publisher.get_subscription_count() and node.count_publishers(ANSWERS)):
        spin(time.monotonic() + 0.1)
    spin(time.monotonic() + 1.0)
    begin, sent = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        # After the four bytes that name the encoding, a message begins with its header's stamp.
        struct.pack_into('<iI', serialised, 4, *divmod(time.time_ns(), 1_000_000_000))
        publisher.publish(bytes(serialised))
        sent += 1
        spin(begin + sent / RATE_HZ)
    end = time.monotonic()
    spin(end + 2.5)  # the last answers, and diagnostics that know of them
    node.destroy_node()
    rclpy.shutdown()
    return {**answers.numbers(sent), 'begin_s': begin, 'end_s': end}


def picture(case: Case) -> Any:
    """Return one image message of a made-up texture."""
    import cv2
    from sensor_msgs.msg import CompressedImage

    from vpr_compressed.model_file.spec import PreprocessingSpec
    from vpr_compressed.ros.conversions import bytes_for_message
    from vpr_compressed.ros.conversions import image_message
    from vpr_compressed.runtime.parity import reference_images

    image = reference_images(PreprocessingSpec(width=case.width, height=case.height), 1)[0]
    if case.transport == 'raw':
        return image_message(image)
    _, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return CompressedImage(format='rgb8; jpeg compressed bgr8',
                           data=bytes_for_message(data.tobytes()))


def slow_node() -> int:
    """Run the node with an engine that takes 200 ms more for every image."""
    import rclpy

    from vpr_compressed.ros.place_recognition.node import PlaceRecognitionNode
    from vpr_compressed.runtime.extractor import load_extractor

    def load(*args: Any, **options: Any) -> Any:
        extractor = load_extractor(*args, **options)
        quick = extractor.describe

        def describe(image: Any) -> Any:
            time.sleep(SLOW_S)
            return quick(image)
        extractor.describe = describe
        return extractor

    rclpy.init()
    node = PlaceRecognitionNode(loader=load)
    node.trigger_configure()
    node.trigger_activate()
    with suppress(KeyboardInterrupt):
        rclpy.spin(node)
    return 0


def as_markdown(rows: list[tuple[Case, dict[str, Any]]], args: Namespace) -> str:
    """Return the page."""
    lines = [
        '# The node under a camera', '',
        f'{RATE_HZ:g} images a second for {args.seconds:g} s over DDS into `place_recognition`, '
        f'{PLACES} places in the map, the packaged model on', f'{args.threads} '
        f'thread{"s" if args.threads > 1 else ""}, {os.cpu_count()} cores for node and camera '
        'together. "lost" never reached the node, "dropped" were replaced by a newer', 'image on '
        'purpose. '
        '"beyond" is the median from stamp to match less the median inference, "peak" the most '
        'memory since the process began. Made by', '',
        f'    python -m benchmarks.node --seconds {args.seconds:g} --threads {args.threads}', '',
        '| image | XML profile | sent | lost | dropped | stamp to match p50 ms | p99 | inference '
        'ms | beyond ms | CPU % | resident MB | peak MB |', '|---|---|' + '--:|' * 10]
    for case, found in rows:
        lines.append(
            f'| {case} | {"yes" if case.profile else "no"} | {found["sent"]} | {found["lost"]} | '
            f'{found["dropped"]} | {found["p50_ms"]:.1f} | {found["p99_ms"]:.1f} | '
            f'{found["inference_ms"]:.1f} | {found["beyond_ms"]:.1f} | '
            f'{found["cpu_percent"]:.0f} | {found["resident_bytes"] / 1e6:.0f} | '
            f'{found["peak_resident_bytes"] / 1e6:.0f} |')
    return '\n'.join([*lines, ''])


if __name__ == '__main__':
    if os.environ.pop('VPR_SLOW_NODE', ''):
        sys.exit(slow_node())
    sys.exit(main())
