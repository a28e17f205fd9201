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

"""What a person may set of the decision whether a place is reported."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_compressed.config import Bounded
from vpr_compressed.config import option


@dataclass(frozen=True, kw_only=True)
class DecisionConfig(Bounded):
    """How sure a place must be, and how long an image is remembered."""

    min_precision: float = option(
        0.99, 'share of reported places that must be right; lower reports more places, and more '
        'wrong ones', minimum=0.5, maximum=0.999)
    memory_s: float = option(
        30.0, 'pause between two images, in seconds, after which the earlier ones count for '
        'nothing', above=0.0)
