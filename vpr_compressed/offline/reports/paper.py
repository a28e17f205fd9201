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

"""What the paper that this package follows has measured."""

from __future__ import annotations

from typing import NamedTuple


class PaperRow(NamedTuple):
    """
    One compressed network of the paper: AlexNet or VGG16 with NetVLAD and whitening.

    :param bits: per weight; 32 is the uncompressed network
    :param threshold: weights of smaller magnitude were removed
    :param pruned: removed weights in per cent
    :param oxford: mean average precision lost on Oxford 5k, in points
    :param paris: the same on Paris 6k
    :param megabytes: "memory usage"; how it was measured is not said
    """

    network: str
    bits: int
    threshold: float
    pruned: float
    oxford: float
    paris: float
    megabytes: float

    @property
    def drop(self) -> float:
        """Mean of the two losses, in points."""
        return (self.oxford + self.paris) / 2

    @property
    def ratio(self) -> float:
        """How many times smaller than the uncompressed network."""
        whole = next(
            row.megabytes for row in PAPER if row.network == self.network and row.bits == 32)
        return whole / self.megabytes


PAPER_SOURCE = (
    'Saha, Varma and Jawahar, Compressing Deep Neural Networks for Recognizing Places, ACPR 2017; '
    "table of the authors' slides, page 5")
PAPER = (
    PaperRow('AlexNet', 32, 0.0, 0.0, 0.0, 0.0, 248.6),
    PaperRow('AlexNet', 8, 0.001, 25.77, 0.0, 0.0, 41.4),
    PaperRow('AlexNet', 8, 0.005, 48.44, 0.0, 0.0, 32.4),
    PaperRow('AlexNet', 8, 0.01, 69.92, 2.1, 1.8, 20.0),
    PaperRow('AlexNet', 8, 0.05, 85.77, 14.2, 13.3, 10.3),
    PaperRow('AlexNet', 5, 0.005, 52.39, 2.9, 3.4, 19.5),
    PaperRow('AlexNet', 5, 0.01, 74.95, 7.3, 6.7, 10.6),
    PaperRow('VGG16', 32, 0.0, 0.0, 0.0, 0.0, 529.5),
    PaperRow('VGG16', 8, 0.001, 25.52, 0.0, 0.0, 89.6),
    PaperRow('VGG16', 8, 0.005, 51.77, 0.0, 0.0, 65.1),
    PaperRow('VGG16', 8, 0.01, 68.23, 2.0, 2.1, 40.5),
    PaperRow('VGG16', 8, 0.05, 84.68, 11.8, 14.1, 21.7),
    PaperRow('VGG16', 5, 0.005, 55.77, 2.2, 3.6, 42.1),
    PaperRow('VGG16', 5, 0.01, 75.66, 6.8, 5.6, 21.2),
)
