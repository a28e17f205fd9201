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

"""What is done with recordings: how they are walked, and what recogniser and decision are set to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.offline.measuring.content_cache import DescribedImages
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.measuring.replay import Replay
from vpr_compressed.offline.measuring.two_recordings import measure
from vpr_compressed.offline.measuring.two_recordings import measure_revisits
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.processes import Progress


@dataclass(frozen=True, kw_only=True)
class Trial:
    """
    One way to walk through recordings.

    :param revisits: there is one recording, recognised in its own past as in mode ``slam``
    """

    replay: Replay = field(default_factory=Replay)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    recognizer: RecognizerConfig = field(default_factory=RecognizerConfig)
    revisits: bool = False

    def run(
        self, recordings: Sequence[ImageSource], extractor: Extractor, *, progress: Progress,
        known: DescribedImages | None
    ) -> RecognitionRun:
        """
        Do it.

        :param recordings: reference, query and unknown ones; one alone for revisits
        :raises VprError: if an image cannot be used, or nothing of the reference is left
        """
        if self.revisits:
            return measure_revisits(
                recordings[0], extractor, replay=self.replay, decision=self.decision,
                config=self.recognizer, progress=progress, known=known)
        reference, query, *unknown = recordings
        return measure(
            reference, query, extractor, replay=self.replay, decision=self.decision,
            unknown=unknown, progress=progress, known=known)
