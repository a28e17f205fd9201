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
What every importer gives: a network in the terms of its own family, and its way to a model.

A family says how it flattens its VLAD vector and what it feeds its trunk; this module alone
turns that into our form, so no importer permutes or rescales anything by itself.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.network.backbones import Trunk

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Projection:
    """
    A linear layer behind NetVLAD, in the flatten order of its family.

    :param weight: float32 ``(P, K * C)``
    :param bias: float32 ``(P,)``
    :param ordered: whether the rows come by falling variance, as those of a PCA do, so that the
        first ones alone are the PCA of a smaller size
    :param origin: where it comes from, in words
    """

    weight: FloatArray
    bias: FloatArray
    ordered: bool
    origin: str

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ModelFileError(
                f'{self.origin} has weights of shape {self.weight.shape} and a bias of shape '
                f'{self.bias.shape}; (P, K * C) and (P,) are needed')

    def truncated(self, dimension: int) -> Projection:
        """
        Return the first rows; ``README_more.md`` of Relja/netvlad does the same.

        :raises ModelFileError: if there are fewer, or the rows are in no order
        """
        rows = len(self.weight)
        if dimension == rows:
            return self
        if not self.ordered:
            raise ModelFileError(
                f'{self.origin} is a learned layer: its {rows} rows are not ordered by variance, '
                f'so {dimension} of them are no smaller descriptor; leave --dimension out')
        if not 1 <= dimension <= rows:
            raise ModelFileError(
                f'{self.origin} has {rows} dimensions, {dimension} were asked for; choose '
                f'--dimension between 1 and {rows}')
        return replace(self, weight=self.weight[:dimension], bias=self.bias[:dimension],
                       origin=f'{self.origin}, first {dimension} of {rows} dimensions')


@dataclass(frozen=True, kw_only=True)
class ForeignNetwork:
    """
    A network as its checkpoint describes it.

    Assignment and centres are in our sense: ``softmax(assignment @ x + bias)`` over unit features
    x, and residuals ``x - centre``. vladv1 has ``alpha * c / |c|`` as assignment and no bias,
    vladv2 ``2 * alpha * c`` and a bias; both are stored, alpha included, so either is copied.

    :param trunk_name: architecture, for people
    :param assignment: float32 ``(K, C)``
    :param assignment_bias: float32 ``(K,)``
    :param centers: float32 ``(K, C)``
    :param feature_major: whether value c of cluster k stands at ``c * K + k`` in the VLAD vectors
        of this family, which its projection or PCA relies on, and not at ``k * C + c``
    :param projection: in that order; None if the checkpoint has none
    """

    trunk_name: str
    trunk: Trunk
    assignment: FloatArray
    assignment_bias: FloatArray
    centers: FloatArray
    feature_major: bool
    projection: Projection | None
    preprocessing: PreprocessingSpec

    def __post_init__(self) -> None:
        clusters, channels = self.clusters, self.trunk.layers[-1].channels
        for name, found, wanted in (
                ('centres', self.centers.shape, (clusters, channels)),
                ('assignment', self.assignment.shape, (clusters, channels)),
                ('assignment bias', self.assignment_bias.shape, (clusters,))):
            if found != wanted:
                raise ModelFileError(
                    f'the {name} have shape {found}; {clusters} clusters on a trunk with '
                    f'{channels} channels need {wanted}')
        if self.projection is not None:
            self.check(self.projection)

    @property
    def clusters(self) -> int:
        """Number K of clusters."""
        return len(self.centers)

    @property
    def vlad_size(self) -> int:
        """Length K * C of the VLAD vector."""
        return int(self.centers.size)

    def check(self, projection: Projection) -> None:
        """
        Refuse a projection of another size.

        :raises ModelFileError: naming both sizes
        """
        if projection.weight.shape[1] != self.vlad_size:
            clusters, channels = self.centers.shape
            raise ModelFileError(
                f'{projection.origin} is for vectors of {projection.weight.shape[1]} values, this '
                f'network makes {self.vlad_size} ({clusters} clusters x {channels} channels); '
                'take the one that was fitted with this network')

    def model(self, projection: Projection) -> Model:
        """
        Return the network in our form, without calibration and provenance.

        :param projection: the checkpoint's own or another, in the order of the family
        :raises ModelFileError: if it does not fit
        """
        self.check(projection)
        spec = NetworkSpec(
            trunk=self.trunk_name, layers=tuple(self.trunk.layers), clusters=self.clusters,
            dimension=len(projection.weight))
        tensors = {
            **self.trunk.tensors,
            'netvlad.assignment.weight': self.assignment,
            'netvlad.assignment.bias': self.assignment_bias,
            'netvlad.centers': self.centers,
            'projection.weight': self._cluster_major(projection.weight),
            'projection.bias': projection.bias}
        for name, shape in spec.tensor_shapes().items():
            if tensors[name].shape != shape:
                raise ModelFileError(
                    f'{name} has shape {tensors[name].shape}, the layers around it need {shape}; '
                    f'this is no {self.trunk_name}')
        return Model(spec=spec, preprocessing=self.preprocessing, tensors=tensors)

    def _cluster_major(self, weight: FloatArray) -> FloatArray:
        """Return the columns of a projection ``(P, K * C)`` in the order of our VLAD vector."""
        if self.feature_major:
            rows, size = weight.shape
            weight = weight.reshape(rows, size // self.clusters, self.clusters).transpose(
                0, 2, 1).reshape(rows, size)
        return np.ascontiguousarray(weight, np.float32)


def mean_preprocessing(means: tuple[float, ...]) -> PreprocessingSpec:
    """
    Return what Caffe and MatConvNet networks are fed: grey levels minus a mean, not scaled.

    :param means: of red, green and blue, in [0, 255]
    """
    red, green, blue = (float(mean) / 255.0 for mean in means)
    return PreprocessingSpec(
        width=640, height=480, mean=(red, green, blue), std=(1 / 255.0, 1 / 255.0, 1 / 255.0))


#: What torchvision's networks are fed; 640x480 as all families were trained.
IMAGENET_PREPROCESSING = PreprocessingSpec(width=640, height=480)
#: What the Caffe VGG networks are fed.
CAFFE_PREPROCESSING = mean_preprocessing((123.68, 116.779, 103.939))


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """
    A family of checkpoints with one layout.

    :param name: what ``--family`` takes
    :param title: its repositories
    :param needs: what its files hold, for people whose file is not recognised
    :param kind: ``torch`` for named tensors, ``mat`` for a MATLAB network
    """

    name: str
    title: str
    needs: str
    kind: str

    @abstractmethod
    def recognise(self, content: Any) -> bool:
        """Tell whether content of that kind is of this family."""

    @abstractmethod
    def build(self, content: Any, path: Path) -> ForeignNetwork:
        """
        Translate content.

        :param path: the file, for errors
        :raises ModelFileError: if it is of another layout
        """
