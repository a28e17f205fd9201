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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.model import Model
from vpr_compressed.offline.accuracy.validation import check_disjoint
from vpr_compressed.offline.accuracy.validation import ValidationSet
from vpr_compressed.offline.compression.recipe import needs_labels
from vpr_compressed.offline.compression.recipe import Recipe
from vpr_compressed.offline.compression.recipe import TuningOptions
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.compression.tuning import Material
from vpr_compressed.offline.measuring.model_process import ImageRows
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.describe import describe_views
from vpr_compressed.offline.training.labels import load_training_set
from vpr_compressed.offline.training.validation_sets import validation_set
from vpr_compressed.offline.training.views import build_views
from vpr_compressed.offline.training.views import files
from vpr_compressed.offline.training.views import frames
from vpr_compressed.offline.training.views import ImageStream
from vpr_compressed.offline.training.views import load_array
from vpr_compressed.offline.training.views import StageProgress
from vpr_compressed.offline.training.views import Views
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import open_source
from vpr_compressed.system.files import whole_file

#: Images of a held-out stretch used at most; and at least, or it says nothing.
_JUDGES = (20, 1000)


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
) -> tuple[Material, Judges]:
    """
    Bring the images to network size and describe them with the parent.

    :param cache: folder for the images at network size; used again by the next run
    :raises VprError: images are missing, too few, or both trained on and judged by; a loss
        needs labels and there are none
    """
    if (origin.root is None) == (origin.images is None):
        raise ConfigError(
            'give either --data (folder with the labelled images of the recipe) or --images '
            '(folder or bag without labels)')
    if origin.root is not None:
        images, sampler, judges = _labelled(origin.root, recipe)
        stretch = None
    else:
        if needs_labels(recipe):
            raise ConfigError(
                'this recipe trains with a loss that needs labels, and --images has none; use '
                'loss "distill" in its steps, or --data')
        images, stretch = _unlabelled(origin, recipe)
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
    return Material(views, sampler), judges


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
    chosen = np.unique(np.linspace(
        0, len(data) - 1, min(len(data), recipe.max_images)).round().astype(int))
    paths = [data.paths[index] for index in chosen]
    return files(paths), sampler, Judges(sets=sets)


def _unlabelled(origin: Origin, recipe: Recipe) -> tuple[ImageStream, ImageStream]:
    """Return the training part and the held-out end of a recording."""
    if origin.images is None:
        raise ConfigError('give --images')
    source: ImageSource = open_source(origin.images, topic=origin.topic)
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
