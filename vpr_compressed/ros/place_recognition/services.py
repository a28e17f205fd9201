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

"""Services and the trigger topic of the ``place_recognition`` node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

from vpr_compressed.errors import VprError
from vpr_compressed.ros import qos
from vpr_compressed.ros.place_recognition.pipeline import Pipeline


class Services:
    """Requests from outside; every answer says in words what happened."""

    def __init__(self, node: Node, pipeline: Pipeline) -> None:
        """
        Open the services.

        :param node: owner
        :param pipeline: does what is asked for
        """
        self._node = node
        self._pipeline = pipeline
        self._services = [
            node.create_service(kind, name, _answer(action)) for kind, name, action in (
                (SetBool, '~/enable', self._enable),
                (SetBool, '~/set_mapping', self._set_mapping),
                (Trigger, '~/save_map', lambda _: pipeline.save()),
                (Trigger, '~/clear_map', lambda _: f'{pipeline.clear()} places removed'),
                (Trigger, '~/trigger_localization', lambda _: pipeline.trigger()))]
        self._subscription = node.create_subscription(
            PoseWithCovarianceStamped, '~/trigger_localization', self._on_trigger,
            qos.results())

    def close(self) -> None:
        """Close the services."""
        for service in self._services:
            self._node.destroy_service(service)
        self._node.destroy_subscription(self._subscription)

    def _on_trigger(self, _message: PoseWithCovarianceStamped) -> None:
        """Start an attempt; the content of the message has no meaning, as with Isaac ROS."""
        try:
            self._pipeline.trigger()
        except VprError as error:
            self._node.get_logger().warning(f'trigger_localization refused: {error}')

    def _enable(self, request: Any) -> str:
        self._pipeline.enabled = bool(request.data)
        return 'enabled' if request.data else 'disabled: images are ignored'

    def _set_mapping(self, request: Any) -> str:
        self._pipeline.set_mapping(bool(request.data))
        return 'adding places' if request.data else 'not adding places'


def _answer(action: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
    """Return a service callback whose answer carries the words of an action."""
    def callback(request: Any, response: Any) -> Any:
        try:
            response.success, response.message = True, action(request)
        except VprError as error:
            response.success, response.message = False, str(error)
        return response
    return callback
