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

"""What the ``import-weights`` verb does: projection and reference descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vpr_compressed import __version__
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import Model
from vpr_compressed.offline.importers.checkpoint_files import HOW_TO_SAVE
from vpr_compressed.offline.importers.checkpoint_files import read_pca
from vpr_compressed.offline.importers.families import import_network
from vpr_compressed.offline.importers.parts import Family
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.parts import Projection
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.offline.network.engines import TORCH
from vpr_compressed.offline.network.network import network_of
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.labels import list_images
from vpr_compressed.offline.training.session import fit_whitening
from vpr_compressed.offline.training.train_config import TrainConfig
from vpr_compressed.offline.training.views import evenly
from vpr_compressed.runtime.parity import describe_reference
from vpr_compressed.system.terminal import progress

#: Size of a descriptor whose PCA is learned here.
_LEARNED_DIMENSION = 512
#: A VGG16 takes 100 MB of activations for each image of 640x480.
_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class ImportJob:
    """
    One import, as the command line asks for it.

    :param family: name of the family, None to find it out
    :param dimension: size of the descriptor, None for all there is
    :param pca: ``.npz`` file, or None
    :param fit_pca: folder of images to learn a PCA from, or None
    """

    checkpoint: Path
    out: Path
    overwrite: bool = False
    family: str | None = None
    dimension: int | None = None
    pca: Path | None = None
    fit_pca: Path | None = None
    width: int = 640
    height: int = 480


def import_weights(job: ImportJob) -> Model:
    """
    Return a checkpoint as a complete model.

    :raises VprError: nothing can be made of it, or the file to be written exists
    """
    _check_out(job)
    model, family, origin = _projected(job)
    engine = ALL_ENGINES.load(model, TORCH)
    return replace(
        model,
        reference=describe_reference(engine, model.preprocessing).astype(np.float16),
        provenance={
            'made_by': f'vpr_compressed {__version__} import-weights', 'family': family.name,
            'source': family.title, 'file': job.checkpoint.name,
            'file_sha256': _sha256(job.checkpoint), 'projection': origin,
            'licence': 'that of the weights; see the repository they come from'})


def _projected(job: ImportJob) -> tuple[Model, Family, str]:
    """
    Return the network with its projection, its family, and where the projection is from.

    The checkpoint's own arrays, 600 MB for a VGG16 with 4096-D whitening, are gone afterwards.
    """
    family, network = import_network(job.checkpoint, job.family)
    size = replace(network.preprocessing, width=job.width, height=job.height)
    network = replace(network, preprocessing=size)
    other = '--pca' if job.pca is not None else '--fit-pca' if job.fit_pca is not None else ''
    if other and network.projection is not None:
        raise ConfigError(
            f'{network.projection.origin} is a projection already; leave {other} out, '
            '--dimension makes it smaller')
    if job.fit_pca is not None:
        dimension = _LEARNED_DIMENSION if job.dimension is None else job.dimension
        model, origin = _fitted(network, job.fit_pca, dimension)
        return model, family, origin
    projection = _projection(network, job)
    if job.dimension is not None:
        projection = projection.truncated(job.dimension)
    model = network.model(projection)
    model.spec.output_sizes(job.width, job.height)  # refuses too small an input
    return model, family, projection.origin


def _check_out(job: ImportJob) -> None:
    """Refuse what can be refused, and to destroy a file, before anything is computed."""
    if job.dimension is not None and job.dimension < 1:
        raise ConfigError(f'--dimension is {job.dimension}; give 1 or more')
    if job.out.exists() and any(
            path is not None and path.exists() and job.out.samefile(path)
            for path in (job.checkpoint, job.pca)):
        raise ModelFileError(f'{job.out} is the checkpoint itself, or another file that is read; '
                             'choose another --out')
    if job.out.exists() and not job.overwrite:
        raise ModelFileError(
            f'{job.out} exists already; replace it with --overwrite, or choose another name')


def _projection(network: ForeignNetwork, job: ImportJob) -> Projection:
    """Return the checkpoint's whitening or the PCA of a file."""
    if job.pca is not None:
        return read_pca(job.pca)
    if network.projection is None:
        raise ModelFileError(
            f'{job.checkpoint} has no whitening: its descriptor would have {network.vlad_size} '
            f'values. Give --pca FILE.npz with a PCA fitted with this network ({HOW_TO_SAVE}), '
            'or --fit-pca IMAGES to learn one from a folder of images, some thousand of places '
            'like those the robot will see')
    return network.projection


def _fitted(network: ForeignNetwork, folder: Path, dimension: int) -> tuple[Model, str]:
    """Return the model with a projection learned from images, and what it was learned from."""
    config = TrainConfig()
    images = list_images(folder)
    paths = [images[index] for index in evenly(len(images), config.init_images)]
    if 2 * len(paths) <= dimension:
        raise ModelFileError(
            f'{folder} has {len(paths)} images; a {dimension}-D PCA needs more than '
            f'{dimension // 2}, each is used as it is and once in another light. Give more '
            'images, or a smaller --dimension')
    model = network.model(Projection(
        weight=np.zeros((dimension, network.vlad_size), np.float32),
        bias=np.zeros(dimension, np.float32), ordered=True, origin='PCA'))
    size = model.preprocessing
    model.spec.output_sizes(size.width, size.height)  # before the long part
    torch_network = _torch_network(model)
    device = torch_network.projection.weight.device
    with closing(ImageLoader(model.preprocessing)) as loader, progress(
            2 * len(paths), 'whitening') as bar:
        def batches() -> Iterator[Tensor]:
            for change in ('', 'augment'):
                for batch in loader.batches(paths, _BATCH, change=change, seed=config.seed):
                    yield torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
                    bar.update(len(batch))
        fit_whitening(torch_network, batches(), power=config.whitening_power)
    fitted = {**model.tensors, **{
        name: value for name, value in torch_network.tensors().items()
        if name.startswith('projection.')}}
    return (replace(model, tensors=fitted),
            f'PCA with half whitening of {len(paths)} images in {folder.name}')


def _torch_network(model: Model) -> VprNetwork:
    """Return a model as a torch network."""
    return network_of(model.spec, {name: model.float_tensor(name) for name in model.tensors})


def _sha256(path: Path) -> str:
    """Return the hash of a file, so that it can be told which one was imported."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
