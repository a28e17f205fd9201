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

"""What was measured after each step of a compression, and what the paper has measured."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.agreement import TeacherAgreement
from vpr_compressed.offline.accuracy.validation import SetScores

#: Parts of a network in the order an image passes them; ``rest`` is what is no weight.
PARTS = ('trunk', 'NetVLAD', 'projection', 'rest')


@dataclass(frozen=True, kw_only=True)
class TensorRow:
    """
    One tensor of a network as it is stored.

    :param name: as in the specification, e.g. ``projection.weight``
    :param zeros: weights that are zero, in per cent
    :param levels: number of distinct stored values; 0 for floats, where nobody counts
    :param bits: of one stored value before entropy coding; 32 for float32
    :param file_bytes: bytes in the model file, scales and codebook included
    :param bound_bytes: bytes of the values at their entropy, scales and codebook included
    """

    name: str
    shape: tuple[int, ...]
    zeros: float
    levels: int
    bits: float
    file_bytes: int
    bound_bytes: float

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def part(self) -> str:
        """Return which of :data:`PARTS` it belongs to."""
        first = self.name.partition('.')[0]
        return {'netvlad': 'NetVLAD', 'projection': 'projection'}.get(first, 'trunk')


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """
    A network after one step of a recipe, measured.

    :param step: name of the step; the first row is the parent
    :param options: what it did, in words
    :param multiply_adds: of one image
    :param entropy_bound_bytes: the file, if its values were coded at their entropy
    :param parent_bytes: parameters of the original float network x 4 bytes
    :param scores: name of the validation set -> scores; empty without labels
    :param agreement: with the parent on images without labels; None if not measured
    :param latency_p50_ms: pre-processing and network of one image in the run-time engine, median
    :param latency_p95_ms: 95th percentile of the same
    :param resident_bytes: memory gained by loading and running the model, engine included
    :param process_bytes: memory of a process that does nothing else
    :param load_s: from the file to the first descriptor
    :param seconds: how long the step took
    :param cosine: mean cosine to the parent's descriptors; None if they differ in size
    """

    step: str
    options: str
    parameters: int
    multiply_adds: int
    tensors: tuple[TensorRow, ...]
    file_bytes: int
    entropy_bound_bytes: int
    parent_bytes: int
    scores: Mapping[str, SetScores] = field(default_factory=dict)
    agreement: TeacherAgreement | None = None
    latency_p50_ms: float
    latency_p95_ms: float
    resident_bytes: int
    process_bytes: int
    load_s: float
    seconds: float
    cosine: float | None = None

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the weights of the original float network."""
        return self.parent_bytes / self.file_bytes

    @property
    def zeros(self) -> float:
        """Zeros among all weights, in per cent."""
        total = sum(tensor.parameters for tensor in self.tensors)
        return sum(tensor.zeros * tensor.parameters for tensor in self.tensors) / max(1, total)

    @property
    def bits(self) -> float:
        """Mean bits of a weight before entropy coding."""
        total = sum(tensor.parameters for tensor in self.tensors)
        return sum(tensor.bits * tensor.parameters for tensor in self.tensors) / max(1, total)

    @property
    def recall(self) -> float | None:
        """recall@1, mean over the sets; None without labels."""
        return _mean([item.recall[1] for item in self.scores.values()])

    @property
    def mean_average_precision(self) -> float | None:
        """Mean average precision, mean over the sets; None without labels."""
        return _mean([item.mean_average_precision for item in self.scores.values()])

    def part_bytes(self) -> dict[str, int]:
        """Return the bytes of the file by :data:`PARTS`."""
        parts = dict.fromkeys(PARTS, 0)
        for tensor in self.tensors:
            parts[tensor.part] += tensor.file_bytes
        parts['rest'] = max(0, self.file_bytes - sum(parts.values()))
        return parts

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **asdict(self), 'ratio': self.ratio,
            'scores': {name: item.to_json() for name, item in self.scores.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StepRow:
        """
        Read back what :meth:`to_json` gave.

        :raises VprError: unknown or missing entries, or wrong types
        """
        given = {name: value for name, value in values.items() if name != 'ratio'}
        try:
            given['scores'] = {
                name: SetScores.from_json(item) for name, item in given['scores'].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VprError(
                f'a row of the report has scores this version cannot use ({error!r}); it was '
                'probably written by another version: measure again') from error
        return config_from_mapping(cls, given)


@dataclass(frozen=True, kw_only=True)
class SensitivityRow:
    """
    What compressing one tensor or group alone does to the network.

    :param level: how strongly, e.g. the share of zeros
    :param score: what is left or lost; :class:`ReportContext` says which
    """

    name: str
    level: float
    score: float


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """
    What is needed to repeat a compression and to trust its report.

    :param title: e.g. the name of the recipe
    :param command: that made it
    :param data: what it was trained and measured on, in words
    :param settings: plain data: recipe, seed, engine, threads, limits of acceptance
    :param parent: model file that was compressed
    :param model: model file that was written; None if there is none
    :param target_ratio: how many times smaller the file was meant to become
    :param sensitivity: of tensors or groups, each at some levels
    :param level_label: what a level is, with its unit
    :param score_label: what a score is, with its unit
    :param warnings: what a reader should know, a sentence each
    """

    title: str
    command: str
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    parent: Path | None = None
    model: Path | None = None
    target_ratio: float | None = None
    sensitivity: tuple[SensitivityRow, ...] = ()
    level_label: str = 'zeros  [share]'
    score_label: str = 'drop of agreement with the parent  [points]'
    warnings: tuple[str, ...] = ()


def size_sentence(rows: Sequence[StepRow], context: ReportContext) -> tuple[bool, str]:
    """
    Say whether the size that was aimed at is reached, and by how much it is missed.

    :returns: whether it is (or none was given), and a sentence
    """
    last = rows[-1]
    text = (f'The file has {last.file_bytes:,} bytes, {last.ratio:.1f} times less than the '
            f'{last.parent_bytes:,} bytes of the original float weights')
    target = context.target_ratio
    if target is None:
        return True, f'{text}.'
    if last.ratio >= target:
        return True, f'{text}; the target of {target:g} times is reached.'
    excess = last.file_bytes - last.parent_bytes / target
    return False, (
        f'{text}; the target of {target:g} times is missed: the file is {excess:,.0f} bytes '
        f'({100 * excess * target / last.parent_bytes:.1f} %) too large.')


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None of nothing."""
    return float(np.mean(values)) if values else None


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


#: Table of the authors' slides, page 5; the caption of the picture names the paper.
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
