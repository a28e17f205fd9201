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

"""What the recognition node says of itself on ``/diagnostics``, kept beside a recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vpr_compressed.errors import SourceError

FORMAT = 'vpr_compressed node report 1'
SUFFIX = '.node.json'


def path_beside(recording: Path) -> Path:
    """Return where the report of a recording lies: ``a.jsonl`` and ``a`` have ``a.node.json``."""
    return recording.with_name(recording.name.removesuffix('.jsonl') + SUFFIX)


class NodeReport:
    """The newest diagnostics of the node that listens to one image topic."""

    def __init__(self, image_topic: str) -> None:
        """
        Know nothing yet.

        :param image_topic: resolved name; diagnostics of nodes that listen elsewhere are ignored
        """
        self._topic = image_topic
        self._parts: dict[str, dict[str, str]] = {}

    def take(self, array: Any) -> None:
        """Take a ``DiagnosticArray``."""
        parts = {status.name.rpartition(': ')[2]: {v.key: v.value for v in status.values}
                 for status in array.status}
        if parts.get('input', {}).get('topic') == self._topic:
            self._parts = parts

    def forget(self) -> None:
        """Forget what was said so far."""
        self._parts = {}

    def covers(self, answers: int) -> bool:
        """Return whether the node has counted at least so many answers."""
        return int(self._parts.get('inference', {}).get('processed', -1)) >= answers

    def write(self, recording: Path, *, transport: str, unmatched: int) -> None:
        """
        Write it beside a recording, as ``NAME.node.json``; values are text as in the messages.

        :param transport: how the images were published, ``raw`` or ``compressed``
        :param unmatched: answers that no published image waited for
        :raises SourceError: the file cannot be written
        """
        path = path_beside(recording)
        values = {'format': FORMAT, 'image_topic': self._topic, 'image_transport': transport,
                  'unmatched_answers': unmatched, 'diagnostics': self._parts}
        try:
            path.write_text(json.dumps(values, indent=1) + '\n', encoding='utf-8')
        except OSError as error:
            raise SourceError(f'cannot write {path}: {error.strerror}') from error
