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

"""Play a recording to the real node, recognise its images offline too, and compare."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ImageFormatError
from vpr_compressed.errors import MapFileError
from vpr_compressed.offline.live import answers
from vpr_compressed.offline.live import ros_processes
from vpr_compressed.offline.live.answers import Key
from vpr_compressed.offline.live.answers import NO_PLACE
from vpr_compressed.offline.live.answers import PlaceAnswer
from vpr_compressed.offline.mapping import map_recording
from vpr_compressed.offline.reports import live_page
from vpr_compressed.offline.reports.page import write_files
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.records import Candidate
from vpr_compressed.records import Recognition
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources.answer_log import read_images
from vpr_compressed.system import terminal
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import versions

FORMAT = 'vpr_compressed live 1'
PAGE_NAME, JSON_NAME = 'live.html', 'live.json'
_PREFIX = 'live'


@dataclass(frozen=True, kw_only=True)
class LiveEvaluation:
    """
    What is played to a node, and how.

    :param reference: a recording that is mapped first, or a map file of the model
    :param query: the recording that is played
    :param query_topic: its image topic, '' if it has only one
    :param rate_hz: images per second of a folder, which carries no time
    :param record: what a player has recorded already, None to play now
    :param rate: speed relative to the stamps
    :param hz: images per second whatever their stamps say, 0 to heed them
    :param wait_for_answer: publish each image after the answer to the last
    :param image_transport: ``raw``, ``compressed``, or ``auto`` to send images as they are
    :param domain_id: ROS domain, None for one of its own
    :param threads: of the engine in the node, 0 for its own choice
    :param out: folder of the report
    """

    reference: ImageSource | Path
    query: ImageSource
    query_topic: str
    rate_hz: float
    record: Path | None
    rate: float
    hz: float
    wait_for_answer: bool
    image_transport: str
    domain_id: int | None
    threads: int
    out: Path

    @property
    def pace(self) -> str:
        """How fast it is played, in words."""
        if self.wait_for_answer:
            return 'one image after the other is answered'
        return f'{self.hz:g} images per second' if self.hz else f'{self.rate:g} times the stamps'

    def transport(self) -> str:
        """Return how the images are sent."""
        if self.image_transport != 'auto':
            return self.image_transport
        return 'raw' if next(iter(self.query)).encoded is None else 'compressed'


def evaluate_live(
    wanted: LiveEvaluation, extractor: Extractor, *, command: str
) -> list[tuple[str, str]]:
    """
    Play, recognise the same images offline, and write what agrees.

    :param extractor: the model on the engine that the node is to use
    :param command: command line, for the report
    :returns: name and value of each result, for people
    :raises ConfigError: the folder holds other files
    :raises MapFileError: the map is damaged, or of another model
    :raises VprError: the node or the player failed, or a file cannot be read
    """
    prepare_folder(wanted.out)
    map_path = find_map(wanted.reference, extractor, wanted.out)
    record = wanted.record
    if record is None:
        record = wanted.out / 'live_answers.jsonl'
        play(wanted, extractor, map_path, record)
    found, transport = compare_offline(wanted, extractor, map_path, record)
    setting = {
        'command': command, 'model': str(extractor.model_path),
        'engine': extractor.engine_name, 'descriptor_id': extractor.descriptor_id,
        'map': str(map_path), 'query': wanted.query.describe(), 'image_transport': transport,
        'recording': str(record), 'machine': machine(), 'versions': versions()}
    if wanted.record is None:
        setting['pace'] = wanted.pace
    return write(found, wanted.out, setting)


def prepare_folder(out: Path) -> None:
    """
    Make the folder; an earlier run in it is replaced.

    :raises ConfigError: it holds other files, or cannot be made
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = [entry.name for entry in out.iterdir()]
        others = [name for name in names if not name.startswith(_PREFIX)]
        if names and not others and not _is_marked(out):
            others = names  # somebody's own live.vprmap, say
        if not names:
            # An interrupted run leaves its files, and the same command goes over them.
            (out / JSON_NAME).write_text(
                json.dumps({'format': FORMAT}) + '\n', encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'cannot make the folder {out}: {error.strerror}; choose another one '
                          'with --out') from error
    if others:
        raise ConfigError(f'{out} holds other files (e.g. {min(others)}); choose another folder '
                          'with --out, nothing was changed')


def _is_marked(out: Path) -> bool:
    """Return whether a folder was made by a live evaluation."""
    try:
        values = json.loads((out / JSON_NAME).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get('format') == FORMAT


def find_map(reference: ImageSource | Path, extractor: Extractor, out: Path) -> Path:
    """
    Return the map file; a recording is mapped here, as build-map does.

    Not by the node: both sides have to search one and the same map, and the node in mode
    mapping is what the demo shows.

    :raises MapFileError: damaged, missing or of another model
    """
    if isinstance(reference, Path):
        _open_map(reference, extractor).close()
        return reference
    path = out / 'live.vprmap'
    if not map_recording(reference, extractor, path, overwrite=True).finished:
        raise KeyboardInterrupt
    return path


def _open_map(path: Path, extractor: Extractor) -> PlaceMap:
    """Open a map as the node does in mode localization."""
    return PlaceMap.open(path, descriptor_id=extractor.descriptor_id, read_only=True)


def play(wanted: LiveEvaluation, extractor: Extractor, map_path: Path, record: Path) -> None:
    """
    Run node and player until the whole query is played.

    :raises VprError: one of them failed; the text holds the end of its log
    """
    # As on the robot a camera's images may get lost; in lock-step each one counts.
    sent = {'image_qos': 'reliable' if wanted.wait_for_answer else 'sensor_data',
            'image_transport': wanted.transport()}
    ros_processes.play(
        wanted.query, domain=wanted.domain_id, out=wanted.out, name=_PREFIX, label='playing',
        node={
            'mode': 'localization', 'map_path': map_path.resolve(),
            'model_path': extractor.model_path.resolve(), 'engine': extractor.engine_name,
            'threads': wanted.threads, 'odometry_source': 'none', **sent},
        player={
            'source_topic': wanted.query_topic, 'source_rate_hz': wanted.rate_hz,
            'rate': 0.0 if wanted.wait_for_answer else wanted.rate, 'hz': wanted.hz,
            'wait_for_answer': wanted.wait_for_answer, 'publish_poses': False,
            'record_path': record.resolve(), **sent})


def compare_offline(
    wanted: LiveEvaluation, extractor: Extractor, map_path: Path, record: Path
) -> tuple[answers.JoinedAnswers, str]:
    """
    Recognise the answered images offline, join, and return how they were sent too.

    :raises MapFileError: the recording was made with another model or map
    """
    images, node = read_images(record), answers.read_node_counts(record)
    transport = wanted.transport() if node is None else node.transport
    with _open_map(map_path, extractor) as place_map:
        if node is not None and (node.descriptor_id, node.places) != (
                extractor.descriptor_id, len(place_map)):
            raise MapFileError(
                f'{record} was answered by model {node.descriptor_id} with {node.places} places; '
                f'{map_path} and the model here are {extractor.descriptor_id} with '
                f'{len(place_map)}; name the map and the --model it was played with')
        keys = answers.keys_of(frame.stamp_ns for frame in wanted.query)
        answered = answers.answered(images)
        with terminal.progress(len(answered), 'offline') as bar:
            replayed = _replay(wanted.query, keys, answered, extractor, place_map,
                               transport=transport, progress=bar.update)
    return answers.join(images, replayed, keys, node), transport


def _replay(
    source: ImageSource, keys: Sequence[Key], wanted: Collection[Key], extractor: Extractor,
    place_map: PlaceMap, *, transport: str, progress: Callable[[], object]
) -> dict[Key, PlaceAnswer]:
    """
    Recognise exactly the images the node has answered, with its defaults, in the same order.

    An answer depends on the images before it: those the node never looked at are left out here
    too, and so is odometry, which no recording holds. An image that was sent compressed may
    come smaller, as in the node; one that was sent raw was decoded whole.

    :param keys: of all images, in the order of the source
    :param wanted: keys of the answered images
    :param transport: how they were sent, ``raw`` or ``compressed``
    """
    recognizer = Recognizer(extractor, place_map)
    at_least = recognizer.input_size if transport == 'compressed' else None
    answers: dict[Key, PlaceAnswer] = {}
    for key, frame in zip(keys, source):
        if key in wanted:
            try:
                image = frame.load(at_least=at_least)
            except ImageFormatError as error:
                raise ImageFormatError(
                    f'{frame.name} was answered live, but cannot be decoded: {error}') from error
            answers[key] = _published(recognizer.process(image, stamp_ns=frame.stamp_ns))
            progress()
    return answers


def _published(recognition: Recognition) -> PlaceAnswer:
    """Return what the node would publish of a recognition."""
    decision = recognition.decision
    if decision is None or decision.keyframe is None:
        return NO_PLACE
    # The rows of the node begin with the believed place; of equally similar ones the first counts.
    best = max((Candidate(decision.keyframe, decision.similarity), *recognition.candidates),
               key=lambda candidate: np.float32(candidate.similarity))
    return PlaceAnswer(
        best=best.keyframe.keyframe_id, similarity=float(np.float32(best.similarity)),
        place=decision.keyframe.keyframe_id, status=decision.status,
        confidence=float(np.float32(decision.confidence)))


def write(
    found: answers.JoinedAnswers, out: Path, setting: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Write JSON, picture and page, and return the table."""
    values = {'format': FORMAT, **setting, **found.to_json()}
    plot = live_page.latency_plot(
        values, [(image.published_s, image.latency_ms) for image in found.images])
    write_files(out, {
        plot.name: plot.png(caption=True),
        PAGE_NAME: live_page.render(values, plot, setting).encode(),
        JSON_NAME: (json.dumps(values, indent=1, allow_nan=False) + '\n').encode()})
    return live_page.rows(values)
