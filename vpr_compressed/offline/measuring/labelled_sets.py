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

"""Measure a model file as a robot would run it: in a process of its own, without torch."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.validation import score
from vpr_compressed.offline.accuracy.validation import SetScores
from vpr_compressed.offline.accuracy.validation import ValidationSet
from vpr_compressed.offline.measuring.model_process import ImageFiles
from vpr_compressed.offline.measuring.model_process import ImageRows
from vpr_compressed.offline.measuring.model_process import ModelProcess
from vpr_compressed.records import DescriptorArray
from vpr_compressed.runtime.engines import DEFAULT
from vpr_compressed.system.processes import never
from vpr_compressed.system.processes import Progress
from vpr_compressed.system.processes import silent


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """
    What a model cost in a process that does nothing else.

    :param resident_bytes: memory gained by loading the model and running it once, the engine's
        library included
    :param process_bytes: memory of the whole process after the last image
    :param latency_p50_ms: pre-processing and network of one image, median; decoding not counted
    :param latency_p95_ms: 95th percentile of the same
    :param images: number of images described
    """

    model_bytes: int
    load_s: float
    resident_bytes: int
    process_bytes: int
    latency_p50_ms: float
    latency_p95_ms: float
    engine: str
    threads: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Described:
    """
    What a child found out.

    :param descriptors: one array per list of images, float32 ``(N, D)``
    """

    descriptors: tuple[DescriptorArray, ...]
    facts: ModelFacts


@dataclass(frozen=True, kw_only=True)
class ModelMeasurement:
    """
    All of one model on labelled images.

    :param scores: name of the set -> how well it is ranked
    :param facts: bytes, memory and time
    :param images: every unchanged image of the sets, once, sorted
    :param descriptors: of ``images``, float32 ``(N, D)``, to compare two models by
    """

    scores: dict[str, SetScores]
    facts: ModelFacts
    images: tuple[Path, ...]
    descriptors: DescriptorArray


def describe_in_child(
    model_path: Path, jobs: Sequence[ImageFiles | ImageRows], *, threads: int = 0,
    cancelled: Callable[[], bool] = never, progress: Progress = silent
) -> Described:
    """
    Describe lists of images in a child process and measure what the model costs there.

    :param jobs: lists of image files or of rows of an array file; at least one image in all
    :param threads: CPU threads of the engine, 0 for all cores
    :param cancelled: asked several times a second; the child ends when it says so
    :raises MeasurementCancelledError: if it was cancelled
    :raises VprError: the text of the child, or how it ended
    """
    if not sum(map(len, jobs)):
        raise VprError(f'there are no images to measure {model_path} on; give at least one')
    process = ModelProcess(model_path, engine=DEFAULT, threads=threads, cancelled=cancelled)
    with closing(process):
        found, arrays = process.ask_arrays(
            'describe', lists=jobs, cancelled=cancelled, progress=progress)
    cost, times = process.cost, metrics.percentiles(np.array(found['times_ms'], np.float64))
    return Described(descriptors=tuple(arrays.values()), facts=ModelFacts(
        model_bytes=cost.model_bytes, load_s=cost.load_s, resident_bytes=cost.resident_bytes,
        process_bytes=found['process_bytes'], latency_p50_ms=times['p50'],
        latency_p95_ms=times['p95'], engine=cost.engine, threads=threads,
        images=len(found['times_ms'])))


def measure_model(
    path: Path, sets: Sequence[ValidationSet], *, threads: int = 0,
    cancelled: Callable[[], bool] = never, progress: Progress = silent
) -> ModelMeasurement:
    """
    Measure a model file on labelled sets; an image that several sets share is described once.

    :param sets: at least one; each with a query that has a right answer
    :param cancelled: as for :func:`describe_in_child`, likewise the others
    :raises MeasurementCancelledError: if it was cancelled
    :raises GroundTruthError: if a set has no query with a right answer
    :raises VprError: if the model or an image is broken or missing
    """
    # What darkness does to an image depends on its place in the list: such lists stay whole.
    dark = list(dict.fromkeys(item.queries for item in sets if item.dark))
    plain = {path for item in sets for path in item.references}
    plain |= {path for item in sets if not item.dark for path in item.queries}
    images = tuple(sorted(plain))
    described = describe_in_child(
        path, [ImageFiles(paths=images), *(
            ImageFiles(paths=paths, change='dark') for paths in dark)],
        threads=threads, cancelled=cancelled, progress=progress)
    row_of = {image: row for row, image in enumerate(images)}

    def describe(paths: Sequence[Path], change: str) -> DescriptorArray:
        if change:
            return described.descriptors[1 + dark.index(tuple(paths))]
        return described.descriptors[0][[row_of[image] for image in paths]]

    scores = {item.name: score(item, item.similarities(describe)) for item in sets}
    return ModelMeasurement(
        scores=scores, facts=described.facts, images=images,
        descriptors=described.descriptors[0])
