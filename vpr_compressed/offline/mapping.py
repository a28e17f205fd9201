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

"""A map file from a recording: what ``build-map`` does, and a live evaluation before it plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import time

from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.terminal import progress


@dataclass(frozen=True, kw_only=True)
class MappedRecording:
    """
    What became of a recording.

    :param added: places it added to the map
    :param total: places of the map now
    :param finished: False when the user interrupted; what was mapped until then is in the file
    """

    added: int
    total: int
    seconds: float
    finished: bool


def map_recording(
    source: ImageSource, extractor: Extractor, path: Path, *,
    config: RecognizerConfig | None = None, append: bool = False, overwrite: bool = False
) -> MappedRecording:
    """
    Send every image through a recogniser that only maps, as a session of its own.

    :param path: map file; each place is durable in it as soon as it is added
    :param config: which images become places; every image by default
    :param append: add to the map if it exists
    :param overwrite: replace the map if it exists
    :raises MapFileError: it exists and neither is wanted, or belongs to another model
    :raises SourceError: the recording ends early
    :raises ImageFormatError: an image cannot be decoded
    """
    start = time.monotonic()
    with _open_map(path, extractor, append=append, overwrite=overwrite) as place_map:
        place_map.begin_session(source.path.name)
        known = len(place_map)
        recognizer = Recognizer(extractor, place_map, config)
        recognizer.mapping, recognizer.localization = True, False
        finished = _add_places(source, recognizer)
        total = len(place_map)
    return MappedRecording(
        added=total - known, total=total, seconds=time.monotonic() - start, finished=finished)


def _open_map(path: Path, extractor: Extractor, *, append: bool, overwrite: bool) -> PlaceMap:
    """Create the map file, or open it to add to it."""
    if path.exists() and append:
        return PlaceMap.open(path, descriptor_id=extractor.descriptor_id, read_only=False)
    return PlaceMap.create(
        path, descriptor_id=extractor.descriptor_id, dimension=extractor.dimension,
        model_name=extractor.model_name, overwrite=overwrite)


def _add_places(source: ImageSource, recognizer: Recognizer) -> bool:
    """Process every image; return False when the user interrupted."""
    try:
        with progress(len(source), 'mapping') as bar:
            for frame in source:
                recognizer.process(
                    frame.load(at_least=recognizer.input_size), stamp_ns=frame.stamp_ns,
                    pose=frame.pose, name=frame.name)
                bar.update()
    except KeyboardInterrupt:
        return False
    return True
