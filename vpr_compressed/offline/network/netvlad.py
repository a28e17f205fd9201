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

"""The NetVLAD layer (Arandjelovic et al., CVPR 2016), in its residual-free form."""

from __future__ import annotations

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional


class NetVlad(nn.Module):
    """
    Soft-assigned aggregation of local features into one global vector.

    :param clusters: number K of clusters
    :param channels: number C of feature channels
    """

    def __init__(self, clusters: int, channels: int) -> None:
        super().__init__()
        self.assignment = nn.Linear(channels, clusters)
        self.centers = nn.Parameter(torch.rand(clusters, channels))

    def forward(self, features: Tensor) -> Tensor:
        """
        Aggregate the local features of each image.

        :param features: trunk output, float, ``(B, C, H, W)``, not normalised
        :returns: ``(B, K * C)``, cluster-major, unit L2 norm
        """
        x = functional.normalize(features.flatten(2), dim=1).transpose(1, 2)  # (B, N, C)
        weights = self.assignment(x).softmax(dim=2)                          # (B, N, K)
        # sum_n w (x - c) = sum_n w x - c sum_n w: the (B, K, C, N) residuals, 45 MB an image
        # for 576 channels at 320 x 240, are never built.
        weighted = weights.transpose(1, 2) @ x                               # (B, K, C)
        residuals = weighted - weights.sum(dim=1).unsqueeze(2) * self.centers
        return functional.normalize(functional.normalize(residuals, dim=2).flatten(1), dim=1)
