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

"""What a similarity is worth: the probability that a place is right, fitted on labelled pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import math

from vpr_compressed.config import Bounded
from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option

#: A steeper curve than this only means that the pairs were separable.
MAX_SLOPE = 1000.0


@dataclass(frozen=True, kw_only=True)
class SimilarityCalibration(Bounded):
    """
    Turn the cosine of two descriptors of one model into a probability.

    ``confidence(s) = 1 / (1 + exp(-slope * (s - offset)))``
    """

    threshold: float = option(
        0.5, 'similarity above which one frame alone is right as often as the model claims',
        minimum=-1.0, maximum=1.0)
    slope: float = option(
        20.0, 'steepness of the confidence curve per unit of similarity',
        minimum=0.0, maximum=MAX_SLOPE)
    offset: float = option(
        0.5, 'similarity with confidence one half', minimum=-10.0, maximum=10.0)

    def confidence(self, similarity: float) -> float:
        """Return the probability in [0, 1] that a place of this similarity is right."""
        logit = self.slope * (similarity - self.offset)
        if logit < 0.0:  # exp of a large positive number would overflow
            return math.exp(logit) / (1.0 + math.exp(logit))
        return 1.0 / (1.0 + math.exp(-logit))

    def to_json(self) -> dict[str, float]:
        """Return the values for a file header."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> SimilarityCalibration:
        """
        Build from a file header.

        :raises ConfigError: for unknown keys, wrong types and values out of range
        """
        return config_from_mapping(cls, values)
