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

"""Parameters of the node, and the model and the map that they name."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any
from typing import NamedTuple

import numpy as np

from vpr_compressed.config import option
from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import ImageDescriber
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.ros import qos
from vpr_compressed.system import memory

#: Fact on ``/diagnostics`` -> attribute of the extractor.
_FACTS = {
    'engine': 'engine_name', 'model': 'model_name', 'precision': 'precision',
    'model_bytes': 'model_bytes', 'descriptor_id': 'descriptor_id', 'dimension': 'dimension',
    'engine_choice': 'engine_choice'}
#: What is said of a model whose confidence was fitted on nothing.
CAUTIOUS = 'cautious default calibration'


@dataclass(frozen=True, kw_only=True)
class PlaceRecognitionConfig:
    """Parameters of the ``place_recognition`` node itself."""

    autostart: bool = option(
        True, 'configure and activate at once; false leaves that to a lifecycle manager')
    mode: str = option(
        'localization', 'mapping: add places; localization: recognise them in a read-only map; '
        'slam: both', choices=('mapping', 'localization', 'slam'))
    model_path: str = option(
        '', 'model file (.vpr), or small: the smaller one in the package; empty takes its default')
    engine: str = option(
        'auto', 'inference engine: onnxruntime, openvino or opencv; auto times those installed '
        'and takes the fastest that agrees with the model file')
    threads: int = option(
        0, 'threads for inference, 0 lets the engine choose; set it when SLAM shares the CPU',
        minimum=0, maximum=256)
    map_path: str = option(
        '', 'map file; empty is allowed in mode slam only and keeps the map in memory')
    image_transport: str = option(
        'raw', 'raw: sensor_msgs/Image on "image"; compressed: CompressedImage on '
        '"image/compressed", resolved after remapping "image"', choices=qos.TRANSPORTS)
    image_qos: str = option(
        'sensor_data', 'sensor_data is best effort; all keep only the newest image',
        choices=qos.IMAGE_QOS)
    image_timeout_s: float = option(
        2.0, 'seconds without an image before diagnostics complain',
        minimum=0.1, maximum=3600.0, runtime=True)
    pose_source: str = option(
        'none', 'where keyframes get their pose from while mapping: none, topic_pose (topic '
        '"pose") or tf (needs tf2_ros)', choices=('none', 'topic_pose', 'tf'))
    pose_type: str = option(
        'pose_with_covariance', 'message type of topic "pose": PoseWithCovarianceStamped, '
        'PoseStamped or nav_msgs/Odometry',
        choices=('pose_with_covariance', 'pose', 'odometry'))
    pose_tolerance_s: float = option(
        0.1, 'largest difference between the stamps of an image and its pose or odometry, in '
        'seconds',
        minimum=0.0, maximum=60.0)
    pose_wait_s: float = option(
        0.2, 'how long an image waits for a pose of its time to arrive, in seconds',
        minimum=0.0, maximum=10.0)
    odometry_source: str = option(
        'auto', 'how the decision learns how far the robot moved between two images: auto (topic '
        '"odom" while somebody publishes it), topic (the same, and diagnostics complain without '
        'it), tf (odom_frame to base_frame, needs tf2_ros) or none',
        choices=('auto', 'topic', 'tf', 'none'))
    map_frame: str = option('map', 'frame of the published poses when the map names none')
    odom_frame: str = option(
        'odom', 'odometry frame, for odometry_source tf and publish_map_to_odom_tf')
    base_frame: str = option(
        'base_link', 'frame of the robot base, for pose_source and odometry_source tf, and TF')
    publish_map_to_odom_tf: bool = option(
        False, 'publish TF map->odom at every accepted pose; only when nothing else does '
        '(needs tf2_ros)')
    continuous: bool = option(
        True, 'look at every image; false looks only after ~/trigger_localization')
    trigger_timeout_s: float = option(
        5.0, 'how long one ~/trigger_localization keeps looking, in seconds of wall time',
        minimum=0.1, maximum=600.0, runtime=True)
    position_std_m: float = option(
        1.0, 'standard deviation added to x, y, z of a published pose, in metres: how far from '
        'the keyframe the robot may be', minimum=0.0, maximum=1000.0, runtime=True)
    yaw_std_rad: float = option(
        0.35, 'standard deviation added to roll, pitch, yaw of a published pose, in radians',
        minimum=0.0, maximum=3.2, runtime=True)

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work."""
        if not self.map_path and self.mode != 'slam':
            raise ConfigError(
                f'mode {self.mode} needs parameter map_path, the map file to '
                f'{"write" if self.mode == "mapping" else "search"}; it is empty')


class Settings(NamedTuple):
    """The parameters of the node, group by group."""

    node: PlaceRecognitionConfig
    recognizer: RecognizerConfig
    decision: DecisionConfig


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run, what diagnostics say about it, and its first run in milliseconds."""

    extractor: ImageDescriber
    facts: Mapping[str, Any]
    first_ms: float

    @property
    def fitted(self) -> bool:
        """Whether the confidence of its decisions was fitted on walks."""
        return bool(self.extractor.calibration.fitted_on)

    def describe(self) -> str:
        """Return model and engine in words."""
        facts = self.facts
        return (f'model {facts["model"]} ({facts["precision"]}, {facts["dimension"]}-D, id '
                f'{facts["descriptor_id"]}) on {facts["engine_choice"] or facts["engine"]}')


def load_model(
    loader: Callable[..., ImageDescriber], config: PlaceRecognitionConfig
) -> LoadedModel:
    """
    Load the model and describe one grey image, so that the first real one is not the slow one.

    :param loader: called with model path, ``engine``, ``threads`` and ``stays``
    :raises VprError: why it cannot be loaded or run
    """
    path = Path(config.model_path).expanduser() if config.model_path else None
    before = memory.resident_bytes()
    extractor = loader(path, engine=config.engine, threads=config.threads, stays=True)
    start_s = time.perf_counter()
    extractor.describe(np.full((48, 64, 3), 128, np.uint8))
    first_ms = (time.perf_counter() - start_s) * 1e3
    facts = {name: getattr(extractor, attribute, '') for name, attribute in _FACTS.items()}
    facts['model_resident_bytes'] = max(0, memory.resident_bytes() - before)
    fitted_on = extractor.calibration.fitted_on
    facts['calibration'] = f'fitted on {fitted_on}' if fitted_on else CAUTIOUS
    return LoadedModel(extractor, facts, first_ms)


def open_map(config: PlaceRecognitionConfig, model: LoadedModel) -> PlaceMap:
    """
    Open or create the map the mode needs.

    :param config: mode and path; a relative path starts where the node was started
    :param model: model the map has to fit
    :raises MapFileError: the map is missing, damaged, not writable or of another model
    """
    path = Path(config.map_path).expanduser() if config.map_path else None
    identity = model.extractor.descriptor_id
    if path is not None and (config.mode == 'localization' or path.exists()):
        return PlaceMap.open(
            path, descriptor_id=identity, read_only=config.mode == 'localization')
    return PlaceMap.create(
        path, descriptor_id=identity, dimension=model.extractor.dimension,
        model_name=str(model.facts['model']))
