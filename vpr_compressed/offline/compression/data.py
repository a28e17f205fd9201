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

"""What a compression learns from and is judged by: labelled folders, or a plain recording."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.report import file_report
from vpr_compressed.model_file.report import TensorReport
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.offline.accuracy.agreement import agree
from vpr_compressed.offline.accuracy.agreement import TeacherAgreement
from vpr_compressed.offline.accuracy.validation import check_disjoint
from vpr_compressed.offline.accuracy.validation import SetScores
from vpr_compressed.offline.accuracy.validation import ValidationSet
from vpr_compressed.offline.compression.recipe import needs_labels
from vpr_compressed.offline.compression.recipe import Recipe
from vpr_compressed.offline.compression.recipe import TuningOptions
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.measuring.labelled_sets import describe_in_child
from vpr_compressed.offline.measuring.labelled_sets import measure_model
from vpr_compressed.offline.measuring.labelled_sets import ModelFacts
from vpr_compressed.offline.measuring.model_process import ImageRows
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.reports.compression_rows import TensorRow
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.describe import describe_views
from vpr_compressed.offline.training.labels import load_training_set
from vpr_compressed.offline.training.labels import validation_set
from vpr_compressed.offline.training.views import build_views
from vpr_compressed.offline.training.views import evenly
from vpr_compressed.offline.training.views import files
from vpr_compressed.offline.training.views import frames
from vpr_compressed.offline.training.views import ImageStream
from vpr_compressed.offline.training.views import load_array
from vpr_compressed.offline.training.views import StageProgress
from vpr_compressed.offline.training.views import Views
from vpr_compressed.records import DescriptorArray
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import open_source
from vpr_compressed.system.files import whole_file
from vpr_compressed.system.processes import Progress

#: Images of a held-out stretch used at most; and at least, or it says nothing.
_JUDGES = (20, 1000)
#: Frames around a query that are not looked for, and that count as the same answer.
_EXCLUDE, _TOLERANCE = 5, 2


@dataclass(frozen=True)
class Judges:
    """
    What decides whether a compressed model is good enough.

    :param sets: labelled validation sets; empty without labels
    :param stretch: images of the held-out end of a recording; None with labels
    """

    sets: tuple[ValidationSet, ...] = ()
    stretch: ImageRows | None = None


@dataclass(frozen=True)
class Origin:
    """
    Where images come from: exactly one of the two.

    :param root: folder the paths of the recipe are relative to
    :param images: folder or bag without labels
    :param topic: image topic of a bag that has several
    """

    root: Path | None = None
    images: Path | None = None
    topic: str | None = None

    def describe(self) -> str:
        """Return it in words."""
        return f'{self.root} (as the recipe says)' if self.root else str(self.images)


def open_data(
    origin: Origin, recipe: Recipe, model: Model, cache: Path, *, progress: StageProgress,
    stopped: Callable[[], bool]
) -> tuple[Views, Judges]:
    """
    Bring the images to network size and describe them with the parent.

    :param cache: folder for the images at network size; used again by the next run
    :raises VprError: images are missing, too few, or both trained on and judged by; a loss
        needs labels and there are none
    """
    if origin.root is not None:
        images, sampler, judges = _labelled(origin.root, recipe)
        stretch = None
    elif origin.images is None:
        raise ConfigError('give --data or --images')
    else:
        if needs_labels(recipe):
            raise ConfigError(
                'this recipe trains with a loss that needs labels, and --images has none; use '
                'loss "distill" in its steps, or --data')
        images, stretch = _unlabelled(open_source(origin.images, topic=origin.topic), recipe)
        sampler, judges = None, Judges()

    def build(what: ImageStream, *, changed: bool) -> Path:
        return parallel.from_main(lambda: build_views(
            cache, what, model.preprocessing, changed=changed, seed=recipe.seed,
            progress=progress, cancelled=stopped))

    views = Views.of_file(build(images, changed=recipe.augment), images.count, model.preprocessing)
    if stretch is not None:
        judges = Judges(stretch=ImageRows(
            array=build(stretch, changed=False), rows=tuple(range(stretch.count))))
    views.parent = parallel.from_main(lambda: _parent(model, views, progress))
    views.sampler = sampler
    return views, judges


def _labelled(root: Path, recipe: Recipe) -> tuple[ImageStream, BatchSampler | None, Judges]:
    """Return training images, pairs and validation sets of a recipe with labels."""
    if not recipe.data:
        raise ConfigError('this recipe lists no "data"; add it, or give --images')
    if not recipe.validation:
        raise ConfigError(
            'this recipe lists no "validation", so nothing would judge the result; add it, or '
            'give --images')
    data = load_training_set(root, recipe.data)
    sets = tuple(validation_set(root, item) for item in recipe.validation)
    check_disjoint(sets, data.paths)
    sampler = None
    if needs_labels(recipe):
        if len(data) > recipe.max_images:
            raise ConfigError(
                f'a loss with labels needs all {len(data)} images; raise max_images '
                f'({recipe.max_images})')
        most = max(step.batch for step in recipe.steps if isinstance(step, TuningOptions))
        sampler = BatchSampler(data, pairs=max(2, most // 2), hard_share=0.0, seed=recipe.seed)
    paths = [data.paths[index] for index in evenly(len(data), recipe.max_images)]
    return files(paths), sampler, Judges(sets=sets)


def _unlabelled(source: ImageSource, recipe: Recipe) -> tuple[ImageStream, ImageStream]:
    """Return the training part and the held-out end of a recording."""
    border = round(len(source) * (1.0 - recipe.held_out))
    fewest, most = _JUDGES
    if len(source) - border < fewest or border < fewest:
        raise TrainingError(
            f'{source.describe()}: {border} images to train on and {len(source) - border} to '
            f'judge the result; {fewest} of each are needed, give a longer recording')
    return (frames(source, 0, border, recipe.max_images),
            frames(source, border, len(source), most))


def _parent(model: Model, views: Views, progress: StageProgress) -> np.ndarray:
    """Return the parent's descriptors of all views, from the cache if it knows them."""
    path = views.path.with_name(f'{views.path.stem}-{model.descriptor_id}.npy')
    if path.exists():
        return load_array(path)
    found = describe_views(
        Student.of_model(model).network, views, np.arange(len(views)), exact=True,
        report=lambda done, total: progress('parent descriptors', done, total))
    try:
        with whole_file(path) as part, part.open('wb') as stream:
            np.save(stream, found)
    except OSError as error:
        raise TrainingError(
            f'cannot write {path}: {error.strerror}; free space there') from error
    return found


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """
    A model file and what was seen of it.

    :param descriptors: of the images both parent and student are compared on, ``(N, D)``
    :param parent: the same of the parent, None if this is the parent
    """

    path: Path
    facts: ModelFacts
    descriptors: DescriptorArray
    scores: Mapping[str, SetScores]
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
            parent=parent)
    described = describe_in_child(
        path, [stretch] if stretch is not None else [], threads=threads, cancelled=cancelled,
        progress=progress)
    return MeasuredModel(
        path=path, facts=described.facts, scores={}, parent=parent,
        descriptors=np.asarray(described.descriptors[0]))


def _tensor_row(item: TensorReport) -> TensorRow:
    """Return one tensor of a file as the report shows it."""
    float_bits = {'float32': 32.0, 'float16': 16.0}
    distinct = item.distinct or 0
    return TensorRow(
        name=item.name, shape=item.shape, zeros=100.0 * item.zeros, levels=distinct,
        bits=float_bits.get(item.dtype) or float(math.ceil(math.log2(max(2, distinct)))),
        file_bytes=item.stored_bytes, bound_bytes=item.bound_bytes)
