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
The families of published checkpoints, one row each, and which of them a file belongs to.

To add a family, add a row to :data:`FAMILIES`. Which family a file belongs to is told by what is
in it, never by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import suggest
from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.importers.checkpoint_files import MAT_REMEDY
from vpr_compressed.offline.importers.checkpoint_files import read_mat
from vpr_compressed.offline.importers.checkpoint_files import read_state_dict
from vpr_compressed.offline.importers.checkpoint_files import StateDict
from vpr_compressed.offline.importers.parts import CAFFE_PREPROCESSING
from vpr_compressed.offline.importers.parts import Family
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.parts import IMAGENET_PREPROCESSING
from vpr_compressed.offline.importers.parts import mean_preprocessing
from vpr_compressed.offline.importers.parts import Projection
from vpr_compressed.offline.importers.trunks import sequential_trunk
from vpr_compressed.offline.importers.trunks import VGG16_CONVS
from vpr_compressed.offline.importers.trunks import vgg16_trunk

_CORE = 'vlad:core'


def _translate(net: Any, path: Path) -> ForeignNetwork:
    """Return a network of the official layout."""
    layers = list(np.atleast_1d(net.layers))
    names = [str(getattr(layer, 'name', '?')) for layer in layers]
    if _CORE not in names or not hasattr(layers[names.index(_CORE)], 'weights'):
        raise ModelFileError(
            f'{path} has no readable layer {_CORE!r} among {", ".join(names)}: the custom layers '
            'of the official files are MATLAB class objects, which only MATLAB reads; '
            f'{MAT_REMEDY}')
    core = names.index(_CORE)
    if 'preL2' not in names[:core] or 'vlad:intranorm' not in names[core:]:
        raise ModelFileError(
            f'{path} has the layers {", ".join(names)}; only networks with preL2 and '
            'vlad:intranorm can be imported, as those of the paper are')
    weights = [np.asarray(value, np.float32) for value in layers[core].weights]
    channels = len(weights[0])
    # vladv2 has a bias between assignment and centres
    bias = weights[1].reshape(-1) if len(weights) == 3 else None
    assignment = weights[0].reshape(channels, -1).T
    return ForeignNetwork(
        trunk_name='vgg16', trunk=vgg16_trunk(dict(zip(VGG16_CONVS, _convs(layers[:core], path)))),
        assignment=assignment,
        assignment_bias=np.zeros(len(assignment), np.float32) if bias is None else bias,
        centers=-weights[-1].reshape(channels, -1).T, feature_major=True,
        projection=_projection(layers[core:], int(weights[0].size)),
        preprocessing=mean_preprocessing(_means(net, path)))


def _convs(
    layers: Sequence[Any], path: Path
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return OIHW kernels and biases of the trunk."""
    convs = [layer for layer in layers if _type(layer) == 'conv']
    foreign = sorted({_type(layer) for layer in layers if getattr(layer, 'name', '') != 'preL2'}
                     - {'conv', 'relu', 'pool'})
    if len(convs) != len(VGG16_CONVS) or foreign:
        raise ModelFileError(
            f'{path} has a trunk of {len(convs)} convolutions'
            f'{" with layers of type " + ", ".join(foreign) if foreign else ""}; only VGG16, with '
            '13 of them, ReLU and max pools, can be imported')
    kernels = [np.asarray(conv.weights[0], np.float32) for conv in convs]
    return [(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)) if kernel.ndim == 4 else kernel,
             np.asarray(conv.weights[1], np.float32).reshape(-1))
            for kernel, conv in zip(kernels, convs)]


def _projection(layers: Sequence[Any], size: int) -> Projection | None:
    """Return the whitening behind NetVLAD, if there is one."""
    found = [layer for layer in layers if _type(layer) == 'conv']
    if not found:
        return None
    bias = np.asarray(found[0].weights[1], np.float32).reshape(-1)
    weight = np.asarray(found[0].weights[0], np.float32)
    if weight.size != size * bias.size:
        weight = weight.reshape(-1, bias.size)  # the network says what does not fit
    return Projection(weight=weight.reshape(-1, bias.size).T, bias=bias, ordered=True,
                      origin=f'{found[0].name} of the checkpoint')


def _type(layer: Any) -> str:
    """Return the type of a layer, '?' for one Python cannot read."""
    return str(getattr(layer, 'type', '?'))


def _means(net: Any, path: Path) -> tuple[float, ...]:
    """Return the means of red, green and blue in grey levels."""
    try:
        image = np.asarray(net.meta.normalization.averageImage, np.float64)
        return tuple(float(value) for value in image.reshape(-1, 3)[0])
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelFileError(
            f'{path} has no average colour in net.meta.normalization.averageImage; {MAT_REMEDY}'
        ) from error


@dataclass(frozen=True, kw_only=True)
class OfficialFamily(Family):
    """
    The official networks, exported so that Python can read them: the only family of MATLAB files.

    A MatConvNet network ``net``: ``net.layers`` is a cell of structs with ``name``, ``type`` and
    ``weights``; kernels are HWIO. Layer ``vlad:core`` has ``{assignment D x K, -centres D x K}``,
    with vladv2 ``{assignment, bias 1 x K, -centres}``, and ``WPCA`` behind it is a 1x1
    convolution ``K * D x P`` on vectors flattened ``d * K + k`` (layerVLAD.m, layerVLADv2.m,
    addPCA.m). Images are RGB of 0 to 255 minus
    ``net.meta.normalization.averageImage(1, 1, :)`` (serialAllFeats.m).
    """

    name: str = 'mat'
    title: str = 'official NetVLAD (Relja/netvlad), struct export'
    needs: str = (
        'a MATLAB 5 file with a struct net: layers with conv1_1 ... vlad:core, WPCA, and meta')
    kind: str = 'mat'

    def recognise(self, content: Any) -> bool:
        """Take every network of a MATLAB file."""
        del content
        return True

    def build(self, content: Any, path: Path) -> ForeignNetwork:
        """Translate a MatConvNet network; what is in it may be of any shape and type."""
        try:
            return _translate(content, path)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ModelFileError(
                f'{path} has a network in another layout than the official ones ({error}); '
                f'{MAT_REMEDY}') from error


_MATLAB_5 = b'MATLAB 5'
_MATLAB_7_3 = (b'MATLAB 7.3', b'\x89HDF')
_WPCA = 'WPCA.0'


@dataclass(frozen=True, kw_only=True)
class TorchFamily(Family):
    """
    A layout of PyTorch checkpoints; all names are prefixes or parts of names of tensors.

    Centres have our sign in all of them: a residual is a feature minus its centre.

    :param trunk: prefix of the trunk, an ``nn.Sequential``
    :param pool: NetVLAD
    :param assignment: its soft assignment, weights ``(K, C, ...)``
    :param has_bias: whether a bias of the assignment is known, as vladv2 has one
    :param centers: its centres
    :param feature_major: centres are ``(C, K)`` and vectors flattened ``c * K + k``, instead of
        ``(K, C)`` and ``k * C + c``
    :param whitening: layer behind NetVLAD, weights ``(P, K * C, ...)``; '' if there is never one
    :param is_sequence: NetVLAD may also be ``<pool>.0``, with a learned layer ``<pool>.1``
    :param marks: tensors one of which tells the family; in families that share them, the presence
        of ``whitening`` is to be as ``whitened`` says
    :param preprocessing: what the trunk is fed
    """

    kind: str = 'torch'
    trunk: str
    pool: str
    assignment: str = 'conv'
    has_bias: bool = False
    centers: str = 'centroids'
    feature_major: bool = False
    whitening: str = ''
    is_sequence: bool = False
    marks: tuple[str, ...]
    whitened: bool | None = None
    preprocessing: PreprocessingSpec

    def recognise(self, content: StateDict) -> bool:
        """Tell by the names of tensors."""
        return any(mark in content for mark in self.marks) and self.whitened in (
            None, f'{self.whitening}.weight' in content)

    def build(self, content: StateDict, path: Path) -> ForeignNetwork:
        """Translate a checkpoint."""
        del path  # the content knows it
        trunk_name, trunk = sequential_trunk(content, self.trunk, self.name)
        in_sequence = self.is_sequence and f'{self.pool}.0.{self.centers}' in content
        pool = f'{self.pool}.0' if in_sequence else self.pool
        assignment = content.take(f'{pool}.{self.assignment}.weight', self.name)
        bias = np.zeros(len(assignment), np.float32)
        if self.has_bias and f'{pool}.{self.assignment}.bias' in content:
            bias = content.take(f'{pool}.{self.assignment}.bias', self.name)
        projection = None
        layer = f'{self.pool}.1' if in_sequence else self.whitening
        if in_sequence or f'{layer}.weight' in content:
            weight = content.take(f'{layer}.weight', self.name)
            projection = Projection(
                weight=weight.reshape(len(weight), -1),
                bias=content.take(f'{layer}.bias', self.name), ordered=not in_sequence,
                origin=f'{layer.removesuffix(".0")} of the checkpoint')
        centers = content.take(f'{pool}.{self.centers}', self.name)
        content.refuse_rest(self.name)
        return ForeignNetwork(
            trunk_name=trunk_name, trunk=trunk,
            assignment=assignment.reshape(len(assignment), -1), assignment_bias=bias,
            centers=centers.T if self.feature_major else centers,
            feature_major=self.feature_major, projection=projection,
            preprocessing=self.preprocessing)


FAMILIES: dict[str, Family] = {family.name: family for family in (
    OfficialFamily(),
    # Whoever trained with it has this layout, too. ``encoder`` is VGG16 without its last ReLU and
    # pool; the assignment has a bias with --vladv2 only.
    TorchFamily(
        name='nanne', title='Nanne/pytorch-NetVlad, also Swarm-SLAM (MISTLab)',
        needs='encoder.N.weight, pool.conv.weight, pool.centroids; no whitening',
        trunk='encoder.', pool='pool', has_bias=True, whitening=_WPCA,
        marks=('pool.centroids',), whitened=False, preprocessing=IMAGENET_PREPROCESSING),
    # The global descriptor it re-ranks: the layout of nanne and a whitening, a 1x1 convolution
    # (P, K * C, 1, 1) (add_pca.py). K is 16 in some checkpoints, 64 in others.
    TorchFamily(
        name='patch-netvlad', title='QVPR/Patch-NetVLAD',
        needs='encoder.N.weight, pool.conv.weight, pool.centroids, WPCA.0.weight, WPCA.0.bias',
        trunk='encoder.', pool='pool', has_bias=True, whitening=_WPCA,
        marks=('pool.centroids',), whitened=True, preprocessing=IMAGENET_PREPROCESSING),
    # Both repositories build the module from the official .mat; this is its state dict, with the
    # sign of the centres turned. The mean colour is no parameter of the module, so that of the
    # official networks is taken.
    TorchFamily(
        name='hloc', title='hloc (cvg/Hierarchical-Localization), gmberton/VPR-methods-evaluation',
        needs='backbone.N.weight, netvlad.score_proj.weight, netvlad.centers, whiten.weight',
        trunk='backbone.', pool='netvlad', assignment='score_proj', has_bias=True,
        centers='centers', feature_major=True, whitening='whiten',
        marks=('netvlad.score_proj.weight',), preprocessing=CAFFE_PREPROCESSING),
    # With --fc_output_dim the aggregation is a sequence of NetVLAD and a linear layer. A PCA is
    # fitted apart by eval.py (scikit-learn, not whitened); it leaves its vectors unnormalised,
    # ours are divided by their length.
    TorchFamily(
        name='deep-vg', title='gmberton/deep-visual-geo-localization-benchmark',
        needs='backbone.N.weight (VGG16, ResNet18, 34, 50 or 101), aggregation.conv.weight, '
              'aggregation.centroids; with a linear layer aggregation.0... and '
              'aggregation.1.weight',
        trunk='backbone.', pool='aggregation', is_sequence=True,
        marks=('aggregation.centroids', 'aggregation.0.centroids'),
        preprocessing=IMAGENET_PREPROCESSING),
    # The trunk started from MatConvNet's weights, so images are RGB of 0 to 255 minus the Caffe
    # means. Checkpoints of a training have no PCA layer; theirs is in an HDF5 file.
    TorchFamily(
        name='openibl', title='yxgeee/OpenIBL (SFRS)',
        needs='base_model.base.N.weight, net_vlad.conv.weight, net_vlad.centroids, '
              'pca_layer.weight',
        trunk='base_model.base.', pool='net_vlad', whitening='pca_layer',
        marks=('net_vlad.centroids',), preprocessing=CAFFE_PREPROCESSING))}


def import_network(path: Path, family: str | None = None) -> tuple[Family, ForeignNetwork]:
    """
    Read a checkpoint of a published network.

    :param path: ``.mat`` struct export, or a file written by ``torch.save``
    :param family: key of :data:`FAMILIES`; None finds it out
    :returns: the family, and the network in its terms
    :raises ModelFileError: missing, damaged, unsafe, or of no known family
    """
    if family is not None and family not in FAMILIES:
        raise ModelFileError(f'unknown family {family!r}{suggest(family, FAMILIES)}')
    kind, content = _read(path)
    fitting = [FAMILIES[family]] if family is not None else [
        entry for entry in FAMILIES.values() if entry.kind == kind and entry.recognise(content)]
    if not fitting:
        raise ModelFileError(
            f'{path} is of no family this version knows. It has {content.describe()}. '
            f'The families need:\n{describe_families()}')
    found = fitting[0]
    if found.kind != kind:
        raise ModelFileError(
            f'{path} is a {"MATLAB" if kind == "mat" else "PyTorch"} file; family {found.name!r} '
            f'needs {found.needs}')
    return found, found.build(content, path)


def describe_families() -> str:
    """Return a line for each family: what its checkpoints hold."""
    return '\n'.join(f'  {family.name}: {family.needs}  [{family.title}]'
                     for family in FAMILIES.values())


def _read(path: Path) -> tuple[str, Any]:
    """Return the kind of a file, by its first bytes, and its content."""
    try:
        with path.open('rb') as stream:
            start = stream.read(16)
    except FileNotFoundError as error:
        raise ModelFileError(f'no checkpoint at {path}; check the path') from error
    except OSError as error:
        raise ModelFileError(f'cannot read {path}: {error.strerror}') from error
    if not start:
        raise ModelFileError(f'{path} is empty; download or copy it again')
    if start.startswith(_MATLAB_7_3):
        raise ModelFileError(
            f'{path} is a MATLAB 7.3 (HDF5) file, version 5 is needed; in MATLAB: '
            f'net = load("{path.name}").net; save("net_v5.mat", "net", "-v7"), after '
            'net_class2struct.m of uzh-rpg/netvlad_tf_open if it has class objects')
    if start.startswith(_MATLAB_5):
        return 'mat', read_mat(path)
    return 'torch', read_state_dict(path)
