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

"""One run of the demo: map a recording with the real node, localise on another, judge, draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import find_model
from vpr_compressed.offline.accuracy.ground_truth import from_positions
from vpr_compressed.offline.accuracy.ground_truth import from_tolerance
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.demo import made_up_town
from vpr_compressed.offline.demo import picture
from vpr_compressed.offline.demo.judged_answers import DemoResult
from vpr_compressed.offline.demo.judged_answers import JudgedAnswers
from vpr_compressed.offline.demo.judged_answers import read_answers
from vpr_compressed.offline.demo.judged_answers import Track
from vpr_compressed.offline.live import ros_processes
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import open_source
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.system import terminal


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """
    What is mapped, what is looked up, and what counts as right.

    :param reference: image folder or bag to map, None for the made-up town
    :param query: image folder or bag to recognise, None for the made-up town
    :param radius_m: a match is right within so many metres
    :param tolerance_frames: a match is right within so many images of the same index
    :param domain_id: of DDS, None for one of its own
    """

    out: Path
    reference: Path | None = None
    query: Path | None = None
    topic: str | None = None
    pose_topic: str | None = None
    rate_hz: float = 2.0
    radius_m: float | None = None
    tolerance_frames: int | None = None
    domain_id: int | None = None
    model: Path | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        if (self.reference is None) != (self.query is None):
            raise ConfigError('the demo with your own images needs both --reference and --query; '
                              'leave both out for the made-up town')
        if self.domain_id is not None and not 0 <= self.domain_id <= 101:
            raise ConfigError(f'--domain-id must lie in [0, 101], got {self.domain_id}')
        if self.tolerance_frames is not None and self.tolerance_frames < 0:
            raise ConfigError(
                f'--tolerance-frames must not be negative, got {self.tolerance_frames}')

    @property
    def made_up(self) -> bool:
        """Whether the made-up town is shown."""
        return self.reference is None

    def sources(self) -> tuple[ImageSource, ImageSource]:
        """Return the recording to map and the one to recognise."""
        mapped, seen = (
            open_source(path, topic=self.topic, pose_topic=self.pose_topic, rate_hz=self.rate_hz)
            for path in (self.reference or made_up_town.REFERENCE,
                         self.query or made_up_town.QUERY))
        return mapped, seen


class DemoSession:
    """
    The recordings and the model.

    :raises VprError: no rclpy, no model, no folder to write to, or a recording that is no source
    """

    def __init__(self, config: DemoConfig) -> None:
        ros_processes.check_rclpy()
        model = find_model(config.model)
        if not model.is_file():
            raise ModelFileError(f'there is no model file {model}; name one with --model')
        try:
            config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f'cannot make the folder {config.out}: {error.strerror}; choose '
                              'another one with --out') from error
        self._config, self._model = config, model.resolve()
        self._reference, self._query = config.sources()

    def run(self) -> DemoResult:
        """
        Map the reference, localise on the query, and judge the answers.

        :raises VprError: a process failed, or nothing can be judged by what was asked for
        """
        config, tracks = self._config, (Track.of(self._reference), Track.of(self._query))
        truth = find_truth(config, *tracks)
        place_map = config.out / 'demo.vprmap'
        for file in config.out.glob('demo.vprmap*'):
            file.unlink()
        self._play(self._reference, 'mapping', place_map,
                   with_poses=tracks[0].positions_m is not None)
        node_bytes = self._play(self._query, 'localization', place_map, with_poses=False)
        answers = read_answers(config.out / 'localization.jsonl', *tracks)
        with PlaceMap.open(place_map) as store:
            places = len(store)
        return DemoResult(
            reference=tracks[0], query=tracks[1], answers=answers, places=places,
            judged=None if truth is None else JudgedAnswers(answers, *truth),
            model_bytes=self._model.stat().st_size, map_bytes=place_map.stat().st_size,
            node_bytes=node_bytes)

    def draw(self, result: DemoResult) -> Path:
        """Draw the result, for the made-up town with some frames, and return the main picture."""
        out, town = self._config.out, self._config.made_up
        pairs = picture.examples(result.judged, 4) if town and result.judged is not None else []
        if pairs:
            files = [image_files(lap) for lap in (made_up_town.REFERENCE, made_up_town.QUERY)]
            picture.montage([files[0][mapped] for mapped, _ in pairs],
                            [files[1][seen] for _, seen in pairs], out / 'demo_frames.jpg')
        return picture.draw(result, out, town=town)

    def _play(
        self, source: ImageSource, mode: str, place_map: Path, *, with_poses: bool
    ) -> int:
        """
        Run node and player until the whole recording is answered.

        :param mode: of the node; its log and the answers get this name
        :param with_poses: give the places of the map the poses of the recording
        :returns: resident memory of the node in bytes, at the end
        :raises VprError: one of them failed; the text holds the end of its log
        """
        terminal.say(f'{mode}: the node answers {len(source)} images, one by one over DDS')
        config = self._config
        return ros_processes.play(
            source, domain=config.domain_id, out=config.out, name=mode, label=mode,
            node={
                'mode': mode, 'map_path': place_map.resolve(), 'model_path': self._model,
                'threads': config.threads, 'image_qos': 'reliable',
                'pose_source': 'topic_pose' if with_poses else 'none'},
            player={
                'source_topic': config.topic or '', 'source_pose_topic': config.pose_topic or '',
                'source_rate_hz': config.rate_hz, 'publish_poses': with_poses,
                'wait_for_answer': True, 'rate': 0.0, 'answer_timeout_s': 20.0,
                'record_path': (config.out / f'{mode}.jsonl').resolve()})


def find_truth(
    config: DemoConfig, reference: Track, query: Track
) -> tuple[GroundTruth, str] | None:
    """
    Return what is right and by which rule, or None where nobody can know.

    :raises ConfigError: a radius is asked for, but there are no positions
    :raises GroundTruthError: no query has a right answer within what was asked for
    """
    if config.tolerance_frames is not None:
        return (from_tolerance(len(query), len(reference), config.tolerance_frames),
                f'right within {config.tolerance_frames} images')
    if reference.positions_m is None or query.positions_m is None:
        if config.radius_m is None:
            return None
        raise ConfigError('--radius-m needs a pose for every image of both recordings: put a '
                          'poses.csv into the folders, or name the --pose-topic of the bags')
    radius_m = config.radius_m or made_up_town.RADIUS_M
    try:
        truth = from_positions(query.positions_m, reference.positions_m, radius_m)
    except GroundTruthError:
        if config.radius_m is None:
            return None  # poses of two frames, as a rule: nobody asked for a verdict on them
        raise
    return truth, f'right within {radius_m:g} m of where the image was taken'
