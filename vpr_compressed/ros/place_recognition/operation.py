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

"""How the node is operated: the services it answers, and what it says of itself."""

from __future__ import annotations

from contextlib import ExitStack

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import MapFileError
from vpr_compressed.errors import VprError
from vpr_compressed.ros import qos
from vpr_compressed.ros.place_recognition.activity import MANY_IMAGES
from vpr_compressed.ros.place_recognition.pipeline import Pipeline
from vpr_compressed.ros.place_recognition.poses import ODOMETRY_TOPIC
from vpr_compressed.ros.program import Entry
from vpr_compressed.ros.program import ERROR
from vpr_compressed.ros.program import OK
from vpr_compressed.ros.program import serve
from vpr_compressed.ros.program import WARN
from vpr_compressed.system import memory


def open_services(node: Node, pipeline: Pipeline) -> ExitStack:
    """
    Take requests until the result is closed; every answer says in words what happened.

    :param node: owner of the services
    :param pipeline: does what is asked for
    """
    def on_trigger(_message: PoseWithCovarianceStamped) -> None:
        """Start an attempt; the content of the message has no meaning, as with Isaac ROS."""
        try:
            _trigger(pipeline)
        except VprError as error:
            node.get_logger().warning(f'trigger_localization refused: {error}')

    opened = ExitStack()
    for kind, name, action in (
            (SetBool, '~/enable', lambda request: _enable(pipeline, request.data)),
            (SetBool, '~/set_mapping', lambda request: _set_mapping(pipeline, request.data)),
            (Trigger, '~/save_map', lambda _: _save(pipeline)),
            (Trigger, '~/clear_map', lambda _: _clear(pipeline)),
            (Trigger, '~/trigger_localization', lambda _: _trigger(pipeline))):
        opened.callback(node.destroy_service, serve(node, kind, name, action))
    opened.callback(node.destroy_subscription, node.create_subscription(
        PoseWithCovarianceStamped, '~/trigger_localization', on_trigger, qos.results()))
    return opened


# What the services do: each returns what happened, or raises a VprError that says why nothing did.


def _enable(pipeline: Pipeline, wanted: bool) -> str:
    pipeline.enabled = wanted
    return 'enabled' if wanted else 'disabled: images are ignored'


def _set_mapping(pipeline: Pipeline, wanted: bool) -> str:
    if wanted:
        _refuse_read_only(
            pipeline, '; start the node with mode slam to add places while localising')
    pipeline.mapping = wanted
    return 'adding places' if wanted else 'not adding places'


def _clear(pipeline: Pipeline) -> str:
    _refuse_read_only(pipeline)
    return f'{pipeline.clear()} places removed'


def _refuse_read_only(pipeline: Pipeline, remedy: str = '') -> None:
    place_map = pipeline.place_map
    if place_map.read_only:
        raise MapFileError(f'the map {place_map.path} is open read-only in mode '
                           f'{pipeline.config.mode}{remedy}')


def _save(pipeline: Pipeline) -> str:
    place_map = pipeline.place_map
    if place_map.path is None:
        raise MapFileError('the map is in memory only; set parameter map_path to keep it')
    pipeline.save()
    return f'{len(place_map)} places in {place_map.path}'


def _trigger(pipeline: Pipeline) -> str:
    config = pipeline.config
    if not pipeline.active:
        raise ConfigError('the node is not active; activate it first')
    if not pipeline.enabled:
        raise ConfigError('the node is disabled; call ~/enable with true first')
    if config.mode == 'mapping':
        raise ConfigError('mode mapping does not localise; use mode localization or slam')
    if not len(pipeline.place_map):
        raise ConfigError('the map is empty, nothing can be recognised')
    missing = _missing_image(pipeline)
    if missing is not None:
        raise ConfigError(missing)
    pipeline.localise()
    return (f'looking at {pipeline.image_topic} for up to {config.trigger_timeout_s:g} s; '
            'an accepted place is published on ~/pose')


def _missing_image(pipeline: Pipeline) -> str | None:
    """Return why no image arrives, in words, or None while images do arrive."""
    age_s = pipeline.statistics.age_s()
    if not (pipeline.active and pipeline.looking) or age_s <= pipeline.config.image_timeout_s:
        return None
    publishers = pipeline.count_publishers()
    return (f'no image on {pipeline.image_topic} for {age_s:.1f} s '
            f'({publishers} publisher{"" if publishers == 1 else "s"})')


def report(node: Node, pipeline: Pipeline) -> dict[str, Entry]:
    """
    Look after a pipeline, active or not, and return the entries of one diagnostic array.

    :param node: gives its logger
    """
    pipeline.attempt.check_time()
    pipeline.update_shown_map()
    missing = _missing_image(pipeline)
    if missing is not None:
        node.get_logger().warning(missing, throttle_duration_sec=10.0)
    return {'input': _input_entry(pipeline, missing), 'inference': _model_entry(pipeline),
            'map': _map_entry(pipeline), 'matching': _matching_entry(pipeline)}


def _input_entry(pipeline: Pipeline, missing: str | None) -> Entry:
    statistics, publishers = pipeline.statistics, pipeline.count_publishers()
    counts = statistics.counts
    values = {
        'topic': pipeline.image_topic, 'publishers': publishers,
        'rate_hz': statistics.rate_hz(), 'age_s': statistics.age_s(),
        'received': counts.received, 'dropped': counts.dropped, 'bad': counts.bad,
        'time_jumps': counts.time_jumps, 'encoding': statistics.encoding,
        'last_error': statistics.last_error}
    if not pipeline.active:
        return OK, 'inactive', values
    if not pipeline.looking:
        return OK, 'disabled by ~/enable', values
    if missing is not None:
        return (WARN if publishers else ERROR), missing, values
    if statistics.last_error and counts.bad:
        return WARN, f'{counts.bad} unusable images, last: {statistics.last_error}', values
    return OK, f'{values["rate_hz"]:.1f} images per second', values


def _model_entry(pipeline: Pipeline) -> Entry:
    statistics = pipeline.statistics
    latency = statistics.latency_ms()
    values = {**pipeline.model.facts, **latency, 'processed': statistics.counts.processed,
              'resident_bytes': memory.resident_bytes(), 'peak_bytes': memory.peak_bytes()}
    text = f'{latency["inference_ms_p50"]:.1f} ms per image' if latency else 'no image processed'
    return OK, text, values


def _map_entry(pipeline: Pipeline) -> Entry:
    place_map, counts = pipeline.place_map, pipeline.statistics.counts
    places = len(place_map)
    values = {
        'path': place_map.path or '(in memory)', 'places': places, 'added': counts.added,
        'without_pose': counts.without_pose, 'bytes_per_place': place_map.bytes_per_place,
        'thumbnail_bytes': pipeline.thumbnail_bytes(), 'index_bytes': place_map.index_bytes,
        'read_only': place_map.read_only}
    if place_map.read_only and not places:
        return WARN, 'the map is empty, nothing can be recognised', values
    if counts.without_pose:
        return WARN, f'{counts.without_pose} images not added: no pose at their time', values
    return OK, f'{places} places', values


def _matching_entry(pipeline: Pipeline) -> Entry:
    statistics, config = pipeline.statistics, pipeline.config
    values = {'odometry_source': config.odometry_source, **statistics.matching(),
              'last_answer': statistics.last_answer,
              'trigger_localization': pipeline.attempt.outcome}
    unmoved = config.odometry_source in ('topic', 'tf') and not statistics.counts.with_odometry
    if unmoved and values['looked'] >= MANY_IMAGES:
        return WARN, (
            f'odometry_source is {config.odometry_source}, but none of {values["looked"]} images '
            f'has odometry within {config.pose_tolerance_s} s of its stamp; check topic '
            f'"{ODOMETRY_TOPIC}", frames and clocks, or set it to none'), values
    complaint = statistics.complaint()
    return WARN if complaint else OK, complaint or statistics.in_words(), values
