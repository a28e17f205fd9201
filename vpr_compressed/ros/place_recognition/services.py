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
from typing import TYPE_CHECKING

from geometry_msgs.msg import PoseWithCovarianceStamped
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import VprError
from vpr_compressed.ros import qos

if TYPE_CHECKING:
    from vpr_compressed.ros.place_recognition.node import PlaceRecognitionNode

_TIMEOUT_S = 10.0


class Services:
    """Requests from outside; every answer says in words what happened."""

    def __init__(self, node: PlaceRecognitionNode) -> None:
        """
        Open the services.

        :param node: a configured node
        """
        self._node = node
        self._services = [
            node.create_service(SetBool, '~/enable', self._answer(self._enable)),
            node.create_service(SetBool, '~/set_mapping', self._answer(self._set_mapping)),
            node.create_service(Trigger, '~/save_map', self._answer(self._save)),
            node.create_service(Trigger, '~/clear_map', self._answer(self._clear)),
            node.create_service(
                Trigger, '~/trigger_localization', self._answer(lambda _: node.trigger())),
        ]
        self._subscription = node.create_subscription(
            PoseWithCovarianceStamped, '~/trigger_localization', self._on_trigger,
            qos.results())

    def close(self) -> None:
        """Close the services."""
        for service in self._services:
            self._node.destroy_service(service)
        self._node.destroy_subscription(self._subscription)

    @staticmethod
    def _answer(action: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
        """Return a service callback whose answer carries the words of an action."""
        def callback(request: Any, response: Any) -> Any:
            try:
                response.success, response.message = True, action(request)
            except VprError as error:
                response.success, response.message = False, str(error)
            return response
        return callback

    def _on_trigger(self, _message: PoseWithCovarianceStamped) -> None:
        """Start an attempt; the content of the message has no meaning, as with Isaac ROS."""
        try:
            self._node.trigger()
        except VprError as error:
            self._node.get_logger().warning(f'trigger_localization refused: {error}')

    def _enable(self, request: SetBool.Request) -> str:
        self._node.enabled = bool(request.data)
        return 'enabled' if request.data else 'disabled: images are ignored'

    def _set_mapping(self, request: SetBool.Request) -> str:
        self._run(lambda pipeline: pipeline.set_mapping(bool(request.data)))
        return 'adding places' if request.data else 'not adding places'

    def _save(self, _request: Trigger.Request) -> str:
        return str(self._run(lambda pipeline: pipeline.save()))

    def _clear(self, _request: Trigger.Request) -> str:
        return f'{self._run(lambda pipeline: pipeline.clear())} places removed'

    def _run(self, job: Callable[[Any], Any]) -> Any:
        """Run a job on the pipeline in the worker thread and wait for it."""
        pipeline, worker = self._node.pipeline, self._node.worker
        if pipeline is None or worker is None:
            raise ConfigError('the node is not configured')
        return worker.call(lambda: job(pipeline), _TIMEOUT_S)
