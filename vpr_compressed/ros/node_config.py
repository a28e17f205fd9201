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

"""Parameters of the nodes as frozen dataclasses; YAML, command line and docs come from here."""

from __future__ import annotations

from dataclasses import dataclass
import shlex

from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError

MODES = ('mapping', 'localization', 'slam')
TRANSPORTS = ('raw', 'compressed')
IMAGE_QOS = ('sensor_data', 'reliable', 'system_default')
POSE_SOURCES = ('none', 'topic_pose', 'tf')
POSE_TYPES = ('pose_with_covariance', 'pose', 'odometry')


@dataclass(frozen=True, kw_only=True)
class PlaceRecognitionConfig:
    """Parameters of the ``place_recognition`` node itself."""

    autostart: bool = option(
        True, 'configure and activate at once; false leaves that to a lifecycle manager')
    mode: str = option(
        'localization', 'mapping: add places; localization: recognise them in a read-only map; '
        'slam: both', choices=MODES)
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
        '"image/compressed", resolved after remapping "image"', choices=TRANSPORTS)
    image_qos: str = option(
        'sensor_data', 'sensor_data is best effort; all keep only the newest image',
        choices=IMAGE_QOS)
    image_timeout_s: float = option(
        2.0, 'seconds without an image before diagnostics complain',
        minimum=0.1, maximum=3600.0, runtime=True)
    pose_source: str = option(
        'none', 'where keyframes get their pose from while mapping: none, topic_pose (topic '
        '"pose") or tf (needs tf2_ros)', choices=POSE_SOURCES)
    pose_type: str = option(
        'pose_with_covariance', 'message type of topic "pose": PoseWithCovarianceStamped, '
        'PoseStamped or nav_msgs/Odometry', choices=POSE_TYPES)
    pose_tolerance_s: float = option(
        0.1, 'largest difference between the stamps of an image and its pose, in seconds',
        minimum=0.0, maximum=60.0)
    pose_wait_s: float = option(
        0.2, 'how long an image waits for a pose of its time to arrive, in seconds',
        minimum=0.0, maximum=10.0)
    map_frame: str = option('map', 'frame of the published poses when the map names none')
    odom_frame: str = option('odom', 'odometry frame, only for publish_map_to_odom_tf')
    base_frame: str = option('base_link', 'frame of the robot base, for pose_source tf and TF')
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


@dataclass(frozen=True, kw_only=True)
class PlayerConfig:
    """Parameters of the ``player`` node."""

    source: str = option('', 'image folder or ROS bag to play')
    source_topic: str = option('', 'image topic inside a bag; empty when there is only one')
    source_pose_topic: str = option('', 'pose topic inside a bag; empty: no poses')
    source_rate_hz: float = option(
        2.0, 'images per second of a folder without poses.csv', minimum=0.001, maximum=1000.0)
    image_transport: str = option(
        'raw', 'raw: Image on "image"; compressed: CompressedImage on "image/compressed", the '
        'original bytes where the source has them, else PNG', choices=TRANSPORTS)
    image_qos: str = option('reliable', 'quality of service of the images', choices=IMAGE_QOS)
    frame_id: str = option('camera', 'frame of the images')
    rate: float = option(
        1.0, 'speed relative to the stamps; 0 is as fast as possible', minimum=0.0, maximum=1000.0)
    hz: float = option(
        0.0, 'images per second whatever their stamps say; 0 follows the stamps',
        minimum=0.0, maximum=1000.0)
    publish_poses: bool = option(True, 'publish the poses of the source on "pose"')
    wait_for_subscriber_s: float = option(
        10.0, 'how long to wait for somebody to listen before the first image, in seconds',
        minimum=0.0, maximum=3600.0)
    wait_for_answer: bool = option(
        False, 'publish the next image only after the matches of this one, so none is dropped')
    answer_timeout_s: float = option(
        5.0, 'how long to wait for the matches of an image, in seconds',
        minimum=0.0, maximum=600.0)
    record_path: str = option('', 'file for the answers, one JSON object per image; the counts of '
                              'the node come beside it as .node.json; empty: none')

    def __post_init__(self) -> None:
        """Refuse a start without a source."""
        if not self.source:
            raise ConfigError('parameter source is empty; give an image folder or a ROS bag, '
                              'e.g. --ros-args -p source:=/path/to/bag')


@dataclass(frozen=True, kw_only=True)
class RelocalizerConfig:
    """Parameters of the ``relocalizer`` node."""

    at_start: bool = option(True, 'localise once when the node starts')
    max_position_std_m: float = option(
        0.0, 'localise when amcl_pose gets less certain than this standard deviation of x or y, '
        'in metres; 0 does not watch it', minimum=0.0, maximum=1000.0)
    min_interval_s: float = option(
        10.0, 'shortest time between two poses on initialpose, in seconds of wall time: each '
        'one makes AMCL start again', minimum=0.0, maximum=3600.0)


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """Parameters of the ``compress`` node: the options of the verb of that name."""

    autostart: bool = option(True, 'start at once; false waits for ~/start')
    recipe: str = option('', 'compression recipe (YAML), e.g. config/recipes/default.yaml')
    images: str = option(
        '', "image folder or ROS bag to compress for, without labels: the robot's own")
    topic: str = option('', 'image topic inside a bag; empty when there is only one')
    data: str = option('', 'folder the paths of a recipe with labels are relative to')
    model: str = option('', 'float model (.vpr) to start from; empty takes what the recipe or '
                        'the verb names')
    out: str = option('', 'folder for the model, the report and the checkpoints')
    seed: int = option(-1, 'seed of everything random; -1 takes that of the recipe', minimum=-1,
                       maximum=2 ** 31 - 1)
    threads: int = option(0, 'CPU threads, 0 for all cores', minimum=0, maximum=256)
    overrides: str = option(
        '', 'values that replace those of the recipe: KEY=VALUE, separated by blanks')
    nice: int = option(10, 'how far the compression stands back behind the other processes of '
                       'the robot', minimum=0, maximum=19)

    def __post_init__(self) -> None:
        """Refuse what the verb could not start with."""
        for name, meaning in (('recipe', 'the steps'), ('out', 'a folder for the results')):
            if not getattr(self, name):
                raise ConfigError(f'parameter {name} is empty; give {meaning}, '
                                  f'e.g. --ros-args -p {name}:=/path')
        if bool(self.images) == bool(self.data):
            raise ConfigError(
                'give either parameter images (folder or bag without labels) or parameter data '
                f'(folder of a recipe with labels); {"both are" if self.data else "neither is"} '
                'given')
        if self.topic and not self.images:
            raise ConfigError('parameter topic names a topic of a bag, but images is empty')
        self.override_list()

    def override_list(self) -> list[str]:
        """
        Return the overrides one by one; quotes keep blanks together, as in a shell.

        :raises ConfigError: one is not KEY=VALUE
        """
        try:
            items = shlex.split(self.overrides)
        except ValueError as error:
            raise ConfigError(f'parameter overrides: {error}; close the quotes') from error
        for item in items:
            if not item.partition('=')[0] or '=' not in item:
                raise ConfigError(f'parameter overrides needs KEY=VALUE, got {item!r}')
        return items
