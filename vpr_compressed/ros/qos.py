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

"""Topics: their quality of service, and the name and type of the image topic."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import HistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

#: Ways an image travels -> type of the message.
TRANSPORTS: dict[str, Any] = {'raw': Image, 'compressed': CompressedImage}
#: Names of the profiles of image topics -> reliability.
IMAGE_QOS = {
    'sensor_data': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
    'system_default': ReliabilityPolicy.SYSTEM_DEFAULT}


def newest_only(name: str) -> QoSProfile:
    """
    Return the profile of an image topic: only the newest image is kept.

    :param name: one of ``IMAGE_QOS``
    """
    default = name == 'system_default'
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=IMAGE_QOS[name],
        durability=DurabilityPolicy.SYSTEM_DEFAULT if default else DurabilityPolicy.VOLATILE)


def results(depth: int = 10) -> QoSProfile:
    """Return the profile of results: reliable, so none is lost."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                      reliability=ReliabilityPolicy.RELIABLE)


def samples(depth: int) -> QoSProfile:
    """Return the profile of readings that may get lost; it hears reliable publishers as well."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                      reliability=ReliabilityPolicy.BEST_EFFORT)


def latched() -> QoSProfile:
    """Return the profile of a topic whose last message late subscribers get too."""
    profile = results(1)
    profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile


def overridable() -> QoSOverridingOptions:
    """Let YAML change history, depth and reliability: ``qos_overrides./topic.subscription``."""
    return QoSOverridingOptions.with_default_policies()


def image_topic(node: Node, transport: str) -> str:
    """
    Return the absolute image topic after remapping.

    Only the base name ``image`` has to be remapped: the suffix of the transport is added to
    what it was remapped to, as image_transport does in C++.

    :param transport: one of ``TRANSPORTS``
    """
    base = node.resolve_topic_name('image')
    return base if transport == 'raw' else f'{base}/{transport}'
