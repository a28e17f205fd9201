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

"""A data set for evaluation: what is mapped, what is asked, what is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.sources import ImageSource


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """
    Two sets of images and the right answers.

    :param name: for people and reports, such as ``pitts30k test``
    :param layout: key of :data:`.layouts.LAYOUTS`, or ``recordings``
    :param reference: the images that are mapped
    :param query: the images that are recognised
    :param truth: which references are right for each query, by their indices
    """

    name: str
    layout: str
    reference: ImageSource
    query: ImageSource
    truth: GroundTruth


@dataclass(frozen=True)
class Request:
    """
    What a user asked for; None leaves the choice to the layout.

    :param path: an existing folder
    :param split: part of the data set
    :param radius_m: largest distance of a right answer in metres
    :param tolerance_frames: largest difference of the indices of a right answer
    """

    path: Path
    split: str | None = None
    radius_m: float | None = None
    tolerance_frames: int | None = None

    def radius_or(self, usual_m: float = 25.0) -> float:
        """Return the radius in metres that was asked for, else the usual one."""
        return usual_m if self.radius_m is None else self.radius_m

    @property
    def name(self) -> str:
        """Name of the folder, also when it was given as ``.``."""
        return self.path.resolve().name
