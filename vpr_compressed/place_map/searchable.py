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

"""What of a map can be found, and which keyframes follow each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vpr_compressed.place_map.index_rows import IdArray


class Searchable(NamedTuple):
    """
    The keyframes that may be found, in the order they were added.

    :param edits: rises when keyframes were removed
    :param ids: their numbers, rising, ``(N,)``; read only, recent ones left out
    :param session_starts: number of the first keyframe of each stretch of one session, ``(S,)``
    :param skip: numbers that a search must leave out, or None
    """

    edits: int
    ids: IdArray
    session_starts: IdArray
    skip: IdArray | None


class Stretches:
    """Remembers where each stretch of one session starts; keyframes are noted in their order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._session: int | None = None
        self.edits = 0

    def note(self, keyframe_id: int, session: int) -> None:
        """Note the next keyframe."""
        if session != self._session:
            self._starts.append(keyframe_id)
            self._session = session

    def clear(self) -> None:
        """Forget all keyframes."""
        self._starts, self._session = [], None
        self.edits += 1

    def searchable(self, ids: IdArray, skip: IdArray | None) -> Searchable:
        """
        Return what may be found.

        :param ids: numbers of all keyframes, rising, ``(N,)``
        :param skip: numbers of those that may not; with the first of them the map ends
        """
        if skip is not None and skip.size:
            ids = ids[:int(np.searchsorted(ids, skip.min()))]
        return Searchable(self.edits, ids, np.array(self._starts, np.int64), skip)
