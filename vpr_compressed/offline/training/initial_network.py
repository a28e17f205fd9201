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

"""The network training starts from: an ImageNet trunk, k-means centres, a PCA projection."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.network.backbones import build_trunk
from vpr_compressed.offline.network.initialise import fit_projection
from vpr_compressed.offline.network.initialise import kmeans
from vpr_compressed.offline.network.initialise import sample_features
from vpr_compressed.offline.network.initialise import set_clusters
from vpr_compressed.offline.network.network import fast_convolutions
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.labels import TrainingSet
from vpr_compressed.offline.training.train_config import TrainConfig


def initial_network(
    config: TrainConfig, data: TrainingSet, loader: ImageLoader, weights: Path | None,
    progress: Callable[[str, int, int], None]
) -> VprNetwork:
    """
    Build the network of a recipe and fit its centres and projection.

    :param data: images to fit on; each is used as it is and once augmented
    :param weights: ImageNet weights of the trunk (safetensors), or None for random ones
    :param progress: called with a stage name, images done and images in all
    :returns: a network that already recognises places, before any training
    :raises TrainingError: if images or weights cannot be used
    """
    torch.manual_seed(config.seed)
    trunk = build_trunk(config.trunk, weights=weights, cut=config.cut)
    network = VprNetwork(NetworkSpec(
        trunk=config.trunk, layers=tuple(trunk.layers), clusters=config.clusters,
        dimension=config.dimension))
    network.load_tensors(trunk.tensors)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    network.to(device).to(memory_format=torch.channels_last)
    order = np.random.default_rng(config.seed).permutation(len(data))[:config.init_images]
    paths = [data.paths[index] for index in np.sort(order)]

    def images(stage: str) -> Iterator[Tensor]:
        done, total = 0, 2 * len(paths)
        for change in ('', 'augment'):
            for batch in loader.batches(paths, change=change, seed=config.seed):
                done += len(batch)
                progress(stage, done, total)
                yield _to_device(batch, device)

    with fast_convolutions(device):
        features = sample_features(network, images('cluster centres'), seed=config.seed)
    set_clusters(network, kmeans(features, config.clusters, seed=config.seed),
                 sharpness=config.sharpness)
    fit_whitening(network, images('whitening'), power=config.whitening_power)
    return network


def fit_whitening(network: VprNetwork, batches: Iterable[Tensor], *, power: float) -> None:
    """
    Replace the projection of a network by a PCA of its VLAD vectors.

    :param batches: normalised images, each ``(B, 3, h, w)``, on the device of the network
    :param power: 0 keeps the variances, 1 makes them all equal
    :raises TrainingError: if there are fewer images than dimensions
    """
    device = network.projection.weight.device
    vectors = []
    with torch.inference_mode():
        for batch in batches:
            with fast_convolutions(device):
                local = network.features(batch)
            vectors.append(network.netvlad(local.float()).cpu())
    weight, bias = fit_projection(torch.cat(vectors), network.spec.dimension, power=power)
    with torch.no_grad():
        network.projection.weight.copy_(weight)
        network.projection.bias.copy_(bias)


def _to_device(images: NDArray[np.float32], device: torch.device) -> Tensor:
    """Return a batch as the trunk likes it."""
    return torch.from_numpy(images).to(device, memory_format=torch.channels_last)
