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

"""What is done with recordings: how they are walked, and what the recogniser is set to."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.offline.measuring.replay import Replay
from vpr_compressed.recognizer import RecognizerConfig


@dataclass(frozen=True, kw_only=True)
class Trial:
    """
    One way to walk through recordings.

    :param odometry: whether the poses of the images tell the decision how far the robot moved
    :param revisits: there is one recording, recognised in its own past as in mode ``slam``
    """

    replay: Replay = field(default_factory=Replay)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    recognizer: RecognizerConfig = field(default_factory=RecognizerConfig)
    odometry: bool = False
    revisits: bool = False
