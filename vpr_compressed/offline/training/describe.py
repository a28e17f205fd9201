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

"""Descriptors of many images with a network in training."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from vpr_compressed.offline.network.network import fast_convolutions
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.views import Views
from vpr_compressed.records import DescriptorArray

#: Images described at a time.
BATCH = 32


class Describer(nn.Module):
    """
    The network as it is trained: trunk in bfloat16 where that is fast, the rest in float32.

    One module with one ``forward``, because ``DistributedDataParallel`` sees nothing else.

    :param network: shared, not copied
    :param exact: compute in float32 throughout, as the run-time engines do
    """

    def __init__(self, network: VprNetwork, *, exact: bool = False) -> None:
        super().__init__()
        self.network = network
        self._exact = exact

    def forward(self, images: Tensor) -> Tensor:
        """
        Describe images.

        :param images: normalised float32, ``(B, 3, h, w)``, on any device
        :returns: descriptors, float32 ``(B, D)``, unit norm, on the network's device
        """
        device = self.network.projection.weight.device
        images = images.to(device, memory_format=torch.channels_last)
        with nullcontext() if self._exact else fast_convolutions(device):
            features = self.network.features(images)
        return self.network.head(features.float())


@torch.inference_mode()
def describe_batches(
    network: VprNetwork, batches: Iterable[NDArray[np.float32]], *, exact: bool = False
) -> Tensor:
    """
    Return descriptors without training.

    :param batches: normalised images, float32 ``(B, 3, h, w)``
    :param exact: compute in float32 as the run-time engines do, not in bfloat16
    :returns: float32 ``(N, D)``, unit norm, on the device of the network
    """
    describer = Describer(network, exact=exact)
    weight = network.projection.weight
    return torch.cat([weight.new_zeros((0, len(weight))), *(
        describer(torch.from_numpy(images)) for images in batches)])


@torch.inference_mode()
def describe_images(
    network: VprNetwork, loader: ImageLoader, paths: Sequence[Path], change: str = '', *,
    exact: bool = False
) -> DescriptorArray:
    """
    Return descriptors of image files.

    All processes of a training share the work and must call this with the same arguments.
    A batch holds the same images however many they are, so the numbers do not depend on it.

    :param change: '' for the images as they are, ``augment`` or ``dark``
    :param exact: as for :func:`describe_batches`
    :returns: float32 ``(N, D)``, unit norm
    """
    mine = range(parallel.rank() * BATCH, len(paths), parallel.world_size() * BATCH)
    rows = [row for start in mine for row in range(start, min(start + BATCH, len(paths)))]
    part = describe_batches(
        network, loader.batches(paths, BATCH, change=change, starts=mine), exact=exact)
    described: DescriptorArray = parallel.gather(part, rows, len(paths)).cpu().numpy()
    return described


def describe_views(
    network: VprNetwork, views: Views, rows: NDArray[np.int64], *, exact: bool = False,
    report: Callable[[int, int], None] = lambda _done, _total: None
) -> DescriptorArray:
    """
    Return descriptors of views, all of them in this process.

    :param exact: as for :func:`describe_batches`
    :param report: called with views done and in all
    :returns: float32 ``(len(rows), D)``, unit norm
    """
    def batches() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(rows), BATCH):
            yield views.batch(rows[start:start + BATCH])
            report(min(start + BATCH, len(rows)), len(rows))
    described: DescriptorArray = describe_batches(network, batches(), exact=exact).cpu().numpy()
    return described
