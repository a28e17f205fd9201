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


"""
What takes part in the comparison of :mod:`benchmarks.peers`: how each is fitted and run.

Vocabularies and projections are fitted to training images only, never to images that are
measured. Nothing heavy is imported before a method that needs it is loaded, so that the memory
of each can be told apart.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import NamedTuple

from benchmarks import peer_features as features
from benchmarks import peer_words as words
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import preprocess
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.records import ImageArray

FloatArray = NDArray[np.float32]
#: What was fitted, by name, as it is kept in a file.
Arrays = dict[str, NDArray[Any]]
Describe = Callable[[ImageArray], FloatArray]

CLUSTERS = 64
BRANCHING, DEPTH = 10, 4
#: Local features taken from each training image for the words or centres.
SAMPLE = 250
PROJECTED = 512
TRUNK_INPUT = PreprocessingSpec(width=320, height=240)
WEIGHTS = {'mobilenet_v2': 'mobilenet_v2_imagenet.safetensors',
           'squeezenet1_1': 'squeezenet1_1_imagenet.safetensors'}
#: How descriptors are kept and compared: as float32 rows, as words, or as our map does it.
FLAT, WORDS, MAP = 'flat', 'words', 'map'


@dataclass(frozen=True, kw_only=True)
class Materials:
    """
    What methods are made from.

    :param weights: folder with the files of :data:`WEIGHTS`
    :param parent: float NetVLAD, a ``.vpr`` file; None without
    :param engine: that runs our models
    """

    weights: Path
    parent: Path | None
    engine: str
    threads: int


class Loaded(NamedTuple):
    """
    A method that is ready.

    :param describe: gives the descriptor of an image, float32 ``(D,)``
    :param model_bytes: size of the network it has loaded, without what was fitted here
    """

    describe: Describe
    model_bytes: int


Fit = Callable[[Materials, Iterable[ImageArray]], Arrays]


@dataclass(frozen=True, kw_only=True)
class Method:
    """
    One way to recognise places.

    :param key: short name, for files and ``--only``
    :param summary: what it is, in a line
    :param training: what somebody needs to make it
    :param load: makes it ready from what was fitted
    :param fit: fits it to training images; None if there is nothing to fit
    :param base: key of the method whose descriptors this one projects
    :param kind: how its descriptors are kept
    :param value_bytes: bytes of a kept value (kind flat)
    :param files: the files it reads
    """

    key: str
    name: str
    summary: str
    training: str
    load: Callable[[Materials, Arrays], Loaded]
    fit: Fit | None = None
    base: str = ''
    kind: str = FLAT
    value_bytes: int = 4
    files: Callable[[Materials], list[Path]] = lambda _materials: []

    @property
    def ours(self) -> bool:
        """Whether it is a packaged model."""
        return self.kind == MAP


def load_thumbnail(describe: Describe, _materials: Materials, _arrays: Arrays) -> Loaded:
    """Load a method without any model."""
    return Loaded(describe, 0)


def fit_words(_materials: Materials, images: Iterable[ImageArray]) -> Arrays:
    """Grow the vocabulary of ORB words and weigh the words."""
    extract = features.orb_extractor()
    found = [extract(image) for image in images]
    rng = np.random.default_rng(0)
    vocabulary = words.grow_vocabulary(
        np.concatenate([_sample(rows, rng) for rows in found]), branching=BRANCHING, depth=DEPTH)
    idf = words.inverse_document_frequency(
        [vocabulary.word_of(rows) for rows in found], vocabulary.words)
    packed = {f'level_{number}': np.packbits(level > 0, axis=1)
              for number, level in enumerate(vocabulary.levels)}
    return {**packed, 'idf': idf}


def load_words(_materials: Materials, arrays: Arrays) -> Loaded:
    """Load the bag of ORB words."""
    extract = features.orb_extractor()
    levels = tuple(features.as_signs(arrays[f'level_{number}']).astype(np.int8)
                   for number in range(len(arrays) - 1))
    vocabulary = words.Vocabulary(levels, len(levels[0]))
    idf = arrays['idf']
    return Loaded(
        lambda image: words.bag_of_words(vocabulary.word_of(extract(image)), idf), 0)


def _local(kind: str, materials: Materials) -> tuple[Describe, int]:
    """Return a function that gives local features ``(n, C)``, and the bytes of its network."""
    if kind == 'sift':
        return features.sift_extractor(), 0
    if kind == 'orb':
        extract = features.orb_extractor()
        return lambda image: features.as_signs(extract(image)) / np.float32(16.0), 0
    maps, size = _trunk(kind, materials)

    def columns(image: ImageArray) -> FloatArray:
        values = maps(image)
        return features.unit(values.reshape(len(values), -1).T)
    return columns, size


def fit_centers(kind: str, materials: Materials, images: Iterable[ImageArray]) -> Arrays:
    """Cluster local features."""
    import torch

    from vpr_compressed.offline.network.initialise import kmeans

    extract, _ = _local(kind, materials)
    rng = np.random.default_rng(0)
    sample = np.concatenate([_sample(extract(image), rng) for image in images])
    return {'centers': kmeans(torch.from_numpy(sample), CLUSTERS).numpy()}


def load_vlad(kind: str, materials: Materials, arrays: Arrays) -> Loaded:
    """Load VLAD over local features of a kind."""
    extract, size = _local(kind, materials)
    centers = arrays['centers']
    return Loaded(lambda image: features.vlad(extract(image), centers), size)


def load_gem(kind: str, materials: Materials, _arrays: Arrays) -> Loaded:
    """Load GeM over an ImageNet trunk."""
    maps, size = _trunk(kind, materials)
    return Loaded(lambda image: features.gem(maps(image)), size)


def load_projected(base: Method, materials: Materials, arrays: Arrays) -> Loaded:
    """Load a method and project its descriptors."""
    inner = base.load(materials, arrays)
    weight, bias = arrays['weight'], arrays['bias']
    return Loaded(
        lambda image: features.project(inner.describe(image), weight, bias), inner.model_bytes)


def fit_projection(vectors: FloatArray) -> Arrays:
    """
    Fit PCA with half whitening to descriptors of training images, as our training does.

    :param vectors: ``(N, V)``; a trial with few images gets fewer dimensions
    """
    import torch

    from vpr_compressed.offline.network.initialise import fit_projection as fit

    weight, bias = fit(torch.from_numpy(vectors), min(PROJECTED, len(vectors) - 1))
    return {'weight': weight.numpy(), 'bias': bias.numpy()}


def _trunk(name: str, materials: Materials) -> tuple[Describe, int]:
    """Return a function that gives the last feature map of a trunk, and the trunk's bytes."""
    import torch

    torch.set_num_threads(materials.threads)
    run, size = (_squeezenet if name == 'squeezenet1_1' else _mobilenet)(
        materials.weights / WEIGHTS[name])

    def maps(image: ImageArray) -> FloatArray:
        with torch.inference_mode():
            pixels = torch.from_numpy(preprocess(image, TRUNK_INPUT))
            return np.asarray(run(pixels)[0].numpy(), np.float32)
    return maps, size


def _mobilenet(weights: Path) -> tuple[Any, int]:
    """Return MobileNetV2 up to the layer our models end at, batch norm folded."""
    from vpr_compressed.model_file.spec import NetworkSpec
    from vpr_compressed.offline.network.backbones import build_trunk
    from vpr_compressed.offline.network.network import VprNetwork

    trunk = build_trunk('mobilenet_v2', weights=weights)
    network = VprNetwork(NetworkSpec(
        trunk='mobilenet_v2', layers=tuple(trunk.layers), clusters=1, dimension=1)).eval()
    network.load_tensors(trunk.tensors)
    return network.features, sum(values.nbytes for values in trunk.tensors.values())


def _squeezenet(weights: Path) -> tuple[Any, int]:
    """Return all of SqueezeNet 1.1 before its classifier."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    import torchvision

    model = torchvision.models.squeezenet1_1(weights=None).eval()
    try:
        _, unexpected = model.load_state_dict(load_file(str(weights)), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise VprError(f'cannot use the weights {weights}: {error}') from error
    if unexpected:
        raise VprError(f'{weights} holds {unexpected[0]}, which SqueezeNet 1.1 does not have')
    return model.features, sum(
        4 * parameter.numel() for parameter in model.features.parameters())


def load_model(model: str, materials: Materials, _arrays: Arrays) -> Loaded:
    """Load a packaged model on the engine, or the float parent (``''``) on PyTorch."""
    from vpr_compressed.offline.network.engines import load_extractor
    from vpr_compressed.offline.network.engines import TORCH

    extractor = load_extractor(
        Path(model) if model else materials.parent, threads=materials.threads,
        engine=materials.engine if model else TORCH)
    return Loaded(extractor.describe, extractor.model_bytes)


def model_file(model: str, materials: Materials) -> list[Path]:
    """Return the file of a model."""
    from vpr_compressed.model_file.model import find_model

    return [find_model(Path(model))] if model else [materials.parent or Path('model_fp32.vpr')]


def weight_file(name: str, materials: Materials) -> list[Path]:
    """Return the file of an ImageNet trunk."""
    return [materials.weights / WEIGHTS[name]]


def _sample(rows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return at most :data:`SAMPLE` random local features of an image, ``(n, C)``."""
    return rows[rng.permutation(len(rows))[:SAMPLE]]
