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

"""A real node over real DDS: in this process with an injected extractor, or in its own."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import ClassVar

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2
from signals import popen_with_sigint
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

import vpr_compressed
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.records import ImageArray
from vpr_compressed.ros.conversions import bytes_for_message
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import image_message
from vpr_compressed.ros.conversions import matches_from_cloud
from vpr_compressed.ros.place_recognition.node import PlaceRecognitionNode
from vpr_compressed.sources.frames import stamp_to_ns

ROOT = Path(vpr_compressed.__file__).parents[1]
TIMEOUT_S = 60.0


class PixelExtractor:
    """A descriptor of 8x6 colour pixels: quick, and alike for alike images."""

    dimension = 144
    descriptor_id = 'feedfacefeedface'
    calibration = DecisionCalibration()
    engine_name = 'pixels'
    model_name = 'pixels'
    precision = 'fp32'
    model_bytes = 0

    def __init__(self, delay_s: float = 0.0) -> None:
        """Take so long for every image."""
        self.delay_s = delay_s

    def describe(self, image: ImageArray) -> np.ndarray:
        """Return the shrunk image as a unit vector."""
        time.sleep(self.delay_s)
        small = cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA).astype(np.float32)
        vector = small.ravel() - small.mean() + 1e-3
        return vector / np.float32(np.linalg.norm(vector))


class GatedExtractor(PixelExtractor):
    """An engine as slow as the test wants: after ``hold``, images wait until they may go on."""

    def __init__(self) -> None:
        """Start with the gate open."""
        super().__init__()
        self.busy = threading.Event()
        self._held = False
        self._permits = threading.Semaphore(0)

    def hold(self) -> None:
        """Stop at the next image, which makes the engine busy."""
        self.busy.clear()
        self._held = True

    def go_on_once(self) -> None:
        """Describe the image in hand and stop at the next one."""
        self.busy.clear()
        self._permits.release()

    def go_on(self) -> None:
        """Describe the image in hand and whatever comes."""
        self._held = False
        self._permits.release()

    def describe(self, image: ImageArray) -> np.ndarray:
        """Wait for the gate."""
        self.busy.set()
        if self._held:
            assert self._permits.acquire(timeout=TIMEOUT_S)
        return super().describe(image)


class Peer(Node):
    """The rest of the robot: camera, odometry, and whoever wants the answers."""

    def __init__(self, context: Context, namespace: str = '/place_recognition') -> None:
        """Subscribe to the answers."""
        super().__init__('peer', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self)
        self._namespace = namespace
        self._publishers_by_topic: dict[str, object] = {}
        self.matches: dict[int, PointCloud2] = {}
        self.poses: dict[int, PoseWithCovarianceStamped] = {}
        self.diagnostics: list[DiagnosticArray] = []
        self.create_subscription(
            PointCloud2, f'{namespace}/matches',
            lambda m: self.matches.__setitem__(stamp_to_ns(m.header.stamp), m), 100)
        self.create_subscription(
            PoseWithCovarianceStamped, f'{namespace}/pose',
            lambda m: self.poses.__setitem__(stamp_to_ns(m.header.stamp), m), 100)
        self.create_subscription(DiagnosticArray, '/diagnostics', self.diagnostics.append, 10)

    def until(self, done: Callable[[], object], timeout_s: float = TIMEOUT_S) -> bool:
        """Handle messages until something is true; return whether it came true."""
        end_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end_s:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def publisher(self, kind: type, topic: str, qos: QoSProfile | int = 10) -> object:
        """Return the publisher of a topic, matched with the node's subscription."""
        if topic not in self._publishers_by_topic:
            made = self.create_publisher(kind, topic, qos)
            self._publishers_by_topic[topic] = made
            assert self.until(made.get_subscription_count), f'nobody wants {topic}'
            answers = f'{self._namespace}/matches'
            assert self.until(lambda: self.count_publishers(answers)), f'nobody answers {answers}'
            assert self.until(LocalNode.all_know_the_peer), f'{answers} would not reach this peer'
            assert self.until(lambda: LocalNode.all_hear(topic)), f'{topic} would not be heard'
            if topic.startswith('/image') and not LocalNode.any_runs():
                assert self.until(self._is_heard), f'{topic} would not be heard'
        return self._publishers_by_topic[topic]

    def _is_heard(self) -> bool:
        """Return whether the node in its own process says that it knows our images."""
        status = self.status('input')
        return status is not None and any(
            item.key == 'publishers' and item.value != '0' for item in status.values)

    def send(self, image: ImageArray, stamp_ns: int, topic: str = '/image') -> None:
        """Publish an image."""
        message = image_message(image)
        message.header = header_at(stamp_ns, 'camera')
        self.publisher(Image, topic).publish(message)

    def send_compressed(self, data: bytes, stamp_ns: int, encoding: str = 'png') -> None:
        """Publish an encoded image."""
        self.publisher(CompressedImage, '/image/compressed').publish(CompressedImage(
            header=header_at(stamp_ns, 'camera'), format=encoding, data=bytes_for_message(data)))

    def send_pose(self, x_m: float, stamp_ns: int) -> None:
        """Publish where the robot is."""
        message = PoseWithCovarianceStamped(header=header_at(stamp_ns, 'map'))
        message.pose.pose.position.x = x_m
        message.pose.pose.orientation.w = 1.0
        self.publisher(PoseWithCovarianceStamped, '/pose').publish(message)

    def ask(self, image: ImageArray, stamp_ns: int, x_m: float | None = None) -> np.ndarray:
        """Publish an image (and a pose) and return the rows of the answer."""
        if x_m is not None:
            self.publisher(Image, '/image')  # what is published before both are known is lost
            self.send_pose(x_m, stamp_ns)
        self.send(image, stamp_ns)
        return self.answer(stamp_ns)

    def answer(self, stamp_ns: int) -> np.ndarray:
        """Wait for the answer to an image and return its rows."""
        assert self.until(lambda: stamp_ns in self.matches), (
            f'no answer to {stamp_ns}, only to {sorted(self.matches)}; '
            f'the node says {self.status("input")}')
        return matches_from_cloud(self.matches[stamp_ns])

    def pose(self, stamp_ns: int) -> PoseWithCovarianceStamped:
        """Wait for the pose of an image and return it."""
        assert self.until(lambda: stamp_ns in self.poses), 'no pose'
        return self.poses[stamp_ns]

    def call(self, name: str, request: object = None) -> object:
        """Call a service of the node and return its answer."""
        request = Trigger.Request() if request is None else request
        kind = SetBool if isinstance(request, SetBool.Request) else Trigger
        return self.request(kind, f'{self._namespace}/{name}', request)

    def request(self, kind: type, name: str, request: object) -> object:
        """Call any service and return its answer."""
        client = self.create_client(kind, name)
        assert self.until(client.service_is_ready), f'no service {name}'
        future = client.call_async(request)
        assert self.until(future.done), f'no answer from {name}'
        self.destroy_client(client)
        return future.result()

    def status(self, name: str) -> object | None:
        """Return the newest diagnostics entry with this ending, e.g. ``input``."""
        for array in reversed(self.diagnostics):
            for status in array.status:
                if status.name.endswith(f': {name}'):
                    return status
        return None

    def values(self, name: str) -> dict[str, str]:
        """Return the key-values of the newest diagnostics entry with this ending."""
        status = self.status(name)
        return {} if status is None else {item.key: item.value for item in status.values}

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self.destroy_node()


class LocalNode:
    """The node in this process, spun by a thread of its own."""

    _running: ClassVar[set[LocalNode]] = set()

    @classmethod
    def all_know_the_peer(cls) -> bool:
        """
        Return whether the answers of all nodes of this process have a listener.

        Discovery has two directions: the peer may see the node before the node sees the peer,
        and what is published in between is lost.
        """
        return all(
            publisher.get_subscription_count()
            for running in cls._running for publisher in running.node.publishers
            if publisher.topic_name.endswith('/matches'))

    @classmethod
    def all_hear(cls, topic: str) -> bool:
        """Return whether all nodes of this process that subscribe to a topic know a publisher."""
        return all(
            subscription.get_publisher_count()
            for running in cls._running for subscription in running.node.subscriptions
            if subscription.topic_name == topic)

    @classmethod
    def any_runs(cls) -> bool:
        """Return whether a node runs in this process."""
        return bool(cls._running)

    def has_listener(self, topic: str) -> bool:
        """Return whether somebody gets what the node publishes on a topic."""
        return any(publisher.get_subscription_count() for publisher in self.node.publishers
                   if publisher.topic_name == topic)

    def __init__(self, context: Context, extractor: object, **parameters: object) -> None:
        """Make the node; parameters are given with ``__`` for the dot."""
        self.node = PlaceRecognitionNode(
            loader=lambda *_, **__: extractor, context=context,
            parameter_overrides=[Parameter(name.replace('__', '.'), value=value)
                                 for name, value in parameters.items()])
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def start(self) -> LocalNode:
        """Configure, activate and spin."""
        assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        return self.spin()

    def spin(self) -> LocalNode:
        """Handle requests from now on."""
        self._running.add(self)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop the thread, then the node."""
        self._running.discard(self)
        self._executor.shutdown()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self.node.close()
        self.node.destroy_node()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()


class NodeProcess:
    """A node in a process of its own, as on a robot."""

    def __init__(
        self, module: str, log: Path, parameters: dict[str, object], *, hears_sigint: bool = True
    ) -> None:
        """Start it; its output goes to a file."""
        arguments = [sys.executable, '-m', f'vpr_compressed.ros.{module}', '--ros-args']
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ['-p', f'{name}:={text}']
        self._log = log
        with log.open('wb') as output:
            self.process = popen_with_sigint(
                arguments, default=hears_sigint, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding='utf-8', errors='replace')

    def wait_until_active(self, peer: Peer) -> None:
        """
        Wait until it takes images and its answers reach the peer.

        A participant learns of the endpoints of another one in the order of their making, and
        the peer's subscription to diagnostics is its last: whose diagnostics arrive knows all.
        """
        assert peer.until(
            lambda: 'active in mode' in self.text or self.process.poll() is not None)
        assert self.process.poll() is None, self.text
        seen = len(peer.diagnostics)
        assert peer.until(lambda: len(peer.diagnostics) > seen), f'no diagnostics\n{self.text}'

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(timeout_s)

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
