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

"""Quality of service of the topics, and the resolved name of the image topic."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import HistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

_RELIABILITY = {
    'sensor_data': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
    'system_default': ReliabilityPolicy.SYSTEM_DEFAULT,
}


def newest_only(name: str) -> QoSProfile:
    """
    Return the profile of an image topic: only the newest image is kept.

    :param name: ``sensor_data``, ``reliable`` or ``system_default``
    """
    default = name == 'system_default'
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=_RELIABILITY[name],
        durability=DurabilityPolicy.SYSTEM_DEFAULT if default else DurabilityPolicy.VOLATILE)


def results(depth: int = 10) -> QoSProfile:
    """Return the profile of results: reliable, so none is lost."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                      reliability=ReliabilityPolicy.RELIABLE)


def latched() -> QoSProfile:
    """Return the profile of a topic whose last message late subscribers get too."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL)


def overridable() -> QoSOverridingOptions:
    """Let YAML change history, depth and reliability: ``qos_overrides./topic.subscription``."""
    return QoSOverridingOptions.with_default_policies()


def image_topic(node: Node, transport: str) -> str:
    """
    Return the absolute image topic after remapping.

    Only the base name ``image`` has to be remapped: the suffix of the transport is added to
    what it was remapped to, as image_transport does in C++.

    :param transport: ``raw`` or ``compressed``
    """
    base = node.resolve_topic_name('image')
    return base if transport == 'raw' else f'{base}/{transport}'
