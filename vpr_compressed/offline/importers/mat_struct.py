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
The official networks of Relja/netvlad, exported so that Python can read them.

A ``.mat`` file of version 5 with a MatConvNet network ``net``: ``net.layers`` is a cell of
structs with ``name``, ``type`` and ``weights``; kernels are HWIO. Layer ``vlad:core`` has
``{assignment D x K, -centres D x K}``, with vladv2 ``{assignment, bias 1 x K, -centres}``, and
``WPCA`` behind it is a 1x1 convolution ``K * D x P`` on vectors flattened ``d * K + k``
(layerVLAD.m, layerVLADv2.m, addPCA.m). Images are RGB of 0 to 255 minus
``net.meta.normalization.averageImage(1, 1, :)`` (serialAllFeats.m).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ModelFileError
from vpr_compressed.offline.importers.parts import Family
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.parts import mean_preprocessing
from vpr_compressed.offline.importers.parts import Projection
from vpr_compressed.offline.importers.trunks import VGG16_CONVS
from vpr_compressed.offline.importers.trunks import vgg16_trunk

_REMEDY = (
    'take the exported Pitts30K_struct.mat or TokyoTM_struct.mat (links in '
    'hloc/extractors/netvlad.py of cvg/Hierarchical-Localization), or export the network in '
    'MATLAB with matlab/net_class2struct.m of uzh-rpg/netvlad_tf_open, with the folder of '
    'Relja/netvlad on the path')
_CORE = 'vlad:core'


def read_mat(path: Path) -> Any:
    """
    Read ``net`` of a MATLAB file.

    :returns: struct with ``layers`` and ``meta``
    :raises ModelFileError: damaged, or without a network
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ModelFileError(
            f'{path} is a MATLAB file and scipy, which reads it, is not installed; run '
            '"pip install scipy"') from error
    try:
        content = loadmat(
            path, struct_as_record=False, squeeze_me=True, variable_names=['net'])
    except Exception as error:  # scipy has many for damaged files
        raise ModelFileError(
            f'{path} is truncated or damaged ({error}); copy or download it again') from error
    net = content.get('net')
    if not hasattr(net, 'layers') or not hasattr(net, 'meta'):
        raise ModelFileError(
            f'{path} has no MatConvNet network "net" with "layers" and "meta"; {_REMEDY}')
    return net


def _translate(net: Any, path: Path) -> ForeignNetwork:
    """Return a network of the official layout."""
    layers = list(np.atleast_1d(net.layers))
    names = [str(getattr(layer, 'name', '?')) for layer in layers]
    _check_readable(layers, names, path)
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


def _check_readable(layers: Sequence[Any], names: Sequence[str], path: Path) -> None:
    """Refuse class objects, which Python reads as nothing."""
    if _CORE not in names or not hasattr(layers[names.index(_CORE)], 'weights'):
        raise ModelFileError(
            f'{path} has no readable layer {_CORE!r} among {", ".join(names)}: the custom layers '
            f'of the official files are MATLAB class objects, which only MATLAB reads; {_REMEDY}')


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
            f'{path} has no average colour in net.meta.normalization.averageImage; {_REMEDY}'
        ) from error


@dataclass(frozen=True, kw_only=True)
class OfficialFamily(Family):
    """The only family of MATLAB files."""

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
                f'{_REMEDY}') from error
