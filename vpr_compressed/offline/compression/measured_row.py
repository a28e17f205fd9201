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

"""Measure a model file into a row of the compression report."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np

from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.report import file_report
from vpr_compressed.model_file.report import TensorReport
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.offline.accuracy.agreement import agree
from vpr_compressed.offline.accuracy.agreement import TeacherAgreement
from vpr_compressed.offline.accuracy.validation import Measurement
from vpr_compressed.offline.accuracy.validation import SetScores
from vpr_compressed.offline.accuracy.validation import ValidationSet
from vpr_compressed.offline.measuring.labelled_sets import describe_in_child
from vpr_compressed.offline.measuring.labelled_sets import measure_model
from vpr_compressed.offline.measuring.labelled_sets import ModelFacts
from vpr_compressed.offline.measuring.model_process import ImageRows
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.reports.compression_rows import TensorRow
from vpr_compressed.records import DescriptorArray
from vpr_compressed.system.processes import Progress

#: Frames around a query that are not looked for, and that count as the same answer.
_EXCLUDE, _TOLERANCE = 5, 2


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """
    A model file and what was seen of it.

    :param descriptors: of the images both parent and student are compared on, ``(N, D)``
    :param decisions: for fitting thresholds; None without labels
    :param parent: the same of the parent, None if this is the parent
    """

    path: Path
    facts: ModelFacts
    descriptors: DescriptorArray
    scores: Mapping[str, SetScores]
    decisions: Measurement | None
    parent: MeasuredModel | None

    def agreement_with(self, parent: MeasuredModel) -> TeacherAgreement:
        """Return how far this model agrees with its parent."""
        return agree(parent.descriptors, self.descriptors, exclude=_EXCLUDE,
                     tolerance=_TOLERANCE)

    def row(self, *, step: str, options: str, parent_bytes: int, seconds: float) -> StepRow:
        """Return the row of the report."""
        model = read_model(self.path)
        report = file_report(self.path)
        first = self.parent or self
        cosine = None
        if first.descriptors.shape == self.descriptors.shape:
            cosine = float((first.descriptors * self.descriptors).sum(axis=1).mean())
        size = model.preprocessing
        facts = self.facts
        return StepRow(
            step=step, options=options, parameters=model.spec.parameters(),
            multiply_adds=sum(multiply_adds(model.spec, size.width, size.height).values()),
            tensors=tuple(_tensor_row(item) for item in report.tensors),
            file_bytes=facts.model_bytes,
            entropy_bound_bytes=round(
                facts.model_bytes - report.tensor_bytes + report.bound_bytes),
            parent_bytes=parent_bytes, scores=dict(self.scores),
            agreement=None if self.scores else self.agreement_with(first),
            latency_p50_ms=facts.latency_p50_ms, latency_p95_ms=facts.latency_p95_ms,
            resident_bytes=facts.resident_bytes, process_bytes=facts.process_bytes,
            load_s=facts.load_s, seconds=seconds, cosine=cosine)


def measure_row(
    path: Path, sets: Sequence[ValidationSet], stretch: ImageRows | None, *,
    parent: MeasuredModel | None, threads: int, cancelled: Callable[[], bool], progress: Progress
) -> MeasuredModel:
    """
    Describe validation images with a model file in a process of its own.

    :param sets: labelled sets; if there are none, ``stretch`` is described
    :param parent: what was measured of the parent, None if this is the parent
    :raises VprError: if the model or an image cannot be used, or it was cancelled
    """
    if sets:
        found = measure_model(path, sets, threads=threads, cancelled=cancelled, progress=progress)
        return MeasuredModel(
            path=path, facts=found.facts, descriptors=found.descriptors, scores=found.scores,
            decisions=found.decisions, parent=parent)
    described = describe_in_child(
        path, [stretch] if stretch is not None else [], threads=threads, cancelled=cancelled,
        progress=progress)
    return MeasuredModel(
        path=path, facts=described.facts, scores={}, decisions=None, parent=parent,
        descriptors=np.asarray(described.descriptors[0]))


def _tensor_row(item: TensorReport) -> TensorRow:
    """Return one tensor of a file as the report shows it."""
    float_bits = {'float32': 32.0, 'float16': 16.0}
    distinct = item.distinct or 0
    return TensorRow(
        name=item.name, shape=item.shape, zeros=100.0 * item.zeros, levels=distinct,
        bits=float_bits.get(item.dtype) or float(math.ceil(math.log2(max(2, distinct)))),
        file_bytes=item.stored_bytes, bound_bytes=item.bound_bytes)
