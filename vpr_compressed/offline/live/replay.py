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

"""The images a node has answered, sent once more through the recogniser, offline."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence

import numpy as np

from vpr_compressed.errors import ImageFormatError
from vpr_compressed.offline.live.answers import Key
from vpr_compressed.offline.live.answers import PlaceAnswer
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.records import Recognition
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import ImageSource


def replay(
    source: ImageSource, keys: Sequence[Key], wanted: Collection[Key], extractor: Extractor,
    place_map: PlaceMap, *, transport: str, progress: Callable[[], object] = lambda: None,
) -> dict[Key, PlaceAnswer]:
    """
    Recognise exactly the images the node has answered, with its defaults, in the same order.

    An answer depends on the images before it: those the node never looked at are left out here
    too. An image that was sent compressed may come smaller, as in the node; one that was sent
    raw was decoded whole.

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
            answers[key] = recognised(recognizer.process(image, stamp_ns=frame.stamp_ns))
            progress()
    return answers


def recognised(recognition: Recognition) -> PlaceAnswer:
    """Return what the node would publish of a recognition."""
    best = recognition.candidates[0] if recognition.candidates else None
    match = recognition.match
    return PlaceAnswer(
        best=None if best is None else best.keyframe.keyframe_id,
        similarity=0.0 if best is None else float(np.float32(best.similarity)),
        accepted=None if match is None else match.keyframe.keyframe_id)
