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
Small checkpoints with random weights in exactly the layouts of published networks.

Each comes with a slow forward pass in the convention of its own repository: its modules and
names, its pre-processing, its residuals and flatten order. Nothing here uses the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import scipy.io
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional
import torchvision

CLUSTERS, CHANNELS, PROJECTED = 8, 10, 12
#: Output channels of the 13 convolutions of a thin VGG16.
WIDTHS = (4, 4, 6, 6, 8, 8, 8, CHANNELS, CHANNELS, CHANNELS, CHANNELS, CHANNELS, CHANNELS)
CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
POOLS = (4, 9, 16, 23)
MEANS = (123.68, 116.779, 103.939)
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Foreign:
    """
    A checkpoint and what its own code makes of an image.

    :param family: as ``--family`` calls it
    :param write: writes the checkpoint
    :param describe: uint8 RGB ``(H, W, 3)`` -> descriptor of unit norm, as its repository does
    :param pca: arrays of a PCA file, for families without whitening
    """

    family: str
    write: Callable[[Path], None]
    describe: Callable[[Image], NDArray[np.float32]]
    pca: dict[str, NDArray[np.float64]] | None = None


class CentroidLayer(nn.Module):
    """NetVLAD as Nanne, Patch-NetVLAD, OpenIBL and deep-vg write it: centroids (K, C)."""

    def __init__(self, channels: int, *, vladv2: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, CLUSTERS, 1, bias=vladv2)
        self.centroids = nn.Parameter(_centres(CLUSTERS, channels))
        with torch.no_grad():
            alpha = 6.0
            if vladv2:
                self.conv.weight.copy_(2 * alpha * self.centroids[:, :, None, None])
                self.conv.bias.copy_(-alpha * self.centroids.norm(dim=1))
            else:
                unit = functional.normalize(self.centroids, dim=1)
                self.conv.weight.copy_(alpha * unit[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised vector ``(B, K * C)``, index ``k * C + c``."""
        batch, channels = x.shape[:2]
        x = functional.normalize(x, dim=1)
        soft = self.conv(x).view(batch, CLUSTERS, -1).softmax(dim=1)
        flat = x.view(batch, channels, -1)
        vlad = torch.zeros(batch, CLUSTERS, channels)
        for cluster in range(CLUSTERS):
            residual = flat - self.centroids[cluster].view(1, channels, 1)     # (B, C, N)
            vlad[:, cluster] = (residual * soft[:, cluster:cluster + 1]).sum(dim=-1)
        vlad = functional.normalize(vlad, dim=2).view(batch, -1)
        return functional.normalize(vlad, dim=1)


class HlocLayer(nn.Module):
    """NetVLAD as hloc writes it: centers (D, K), residuals (B, D, K, N), index d * K + k."""

    def __init__(self) -> None:
        super().__init__()
        self.score_proj = nn.Conv1d(CHANNELS, CLUSTERS, 1, bias=False)
        self.centers = nn.Parameter(_centres(CLUSTERS, CHANNELS).T.contiguous())
        with torch.no_grad():
            self.score_proj.weight.copy_(
                6.0 * functional.normalize(self.centers, dim=0).T[:, :, None])

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised vector ``(B, D * K)`` of features ``(B, D, N)``."""
        scores = self.score_proj(x).softmax(dim=1)
        difference = x.unsqueeze(2) - self.centers.unsqueeze(0).unsqueeze(-1)
        vector = (scores.unsqueeze(1) * difference).sum(dim=-1)
        vector = functional.normalize(vector, dim=1).reshape(len(x), -1)
        return functional.normalize(vector, dim=1)


def vgg16() -> nn.Sequential:
    """Return a thin VGG16 without its last ReLU and pool, numbered as torchvision's features."""
    layers: list[nn.Module] = []
    channels, widths = 3, iter(WIDTHS)
    for place in range(29):
        if place in CONVS:
            layers.append(nn.Conv2d(channels, width := next(widths), 3, padding=1))
            channels = width
        else:
            layers.append(nn.MaxPool2d(2) if place in POOLS else nn.ReLU())
    return nn.Sequential(*layers)


def nanne(*, vladv2: bool = False, parallel: bool = False, old_format: bool = False,
          whiten: bool = False) -> Foreign:
    """Return a checkpoint of Nanne/pytorch-NetVlad; with ``whiten`` as Swarm-SLAM uses it."""
    model = nn.Module()
    model.add_module('encoder', _filled(vgg16(), 0.2))
    model.add_module('pool', CentroidLayer(CHANNELS, vladv2=vladv2))
    pca = _pca(CLUSTERS * CHANNELS, whiten=whiten)

    def describe(image: Image) -> NDArray[np.float32]:
        vector = model.pool(model.encoder(_imagenet(image))).numpy()
        return _apply_pca(vector, pca)

    state = model.state_dict()
    if parallel:
        state = {name.replace('.', '.module.', 1): value for name, value in state.items()}
    checkpoint = {
        # NumPy numbers, as the training writes them
        'epoch': 22, 'state_dict': state, 'recalls': {1: np.float64(0.85), 5: np.float64(0.95)},
        'best_score': np.float64(0.95), 'optimizer': {'state': {}, 'param_groups': []},
        'parallel': parallel}
    return Foreign('nanne', _saver(checkpoint, old_format=old_format), _quiet(describe), pca)


def patch_netvlad() -> Foreign:
    """Return a checkpoint of QVPR/Patch-NetVLAD with its whitening."""
    model = nn.Module()
    model.add_module('encoder', _filled(vgg16(), 0.2))
    model.add_module('pool', CentroidLayer(CHANNELS))
    model.add_module('WPCA', nn.Sequential(
        _whitening(nn.Conv2d(CLUSTERS * CHANNELS, PROJECTED, 1)), nn.Flatten()))

    def describe(image: Image) -> NDArray[np.float32]:
        vector = model.pool(model.encoder(_imagenet(image)))
        found = model.WPCA(vector.unsqueeze(-1).unsqueeze(-1))
        return functional.normalize(found, dim=-1)[0].numpy()

    # add_pca.py computes the whitening in NumPy and stores it in float64
    state = {name: value.double() if name.startswith('WPCA') else value
             for name, value in model.state_dict().items()}
    return Foreign('patch-netvlad', _saver({'num_pcs': PROJECTED, 'state_dict': state}),
                   _quiet(describe))


def hloc() -> Foreign:
    """Return the state dict of hloc's extractor."""
    model = nn.Module()
    model.add_module('backbone', _filled(vgg16(), 20.0))
    model.add_module('netvlad', HlocLayer())
    model.add_module('whiten', _whitening(nn.Linear(CHANNELS * CLUSTERS, PROJECTED)))

    def describe(image: Image) -> NDArray[np.float32]:
        found = model.backbone(_grey_levels(image))
        found = functional.normalize(found.flatten(2), dim=1)
        return functional.normalize(model.whiten(model.netvlad(found)), dim=1)[0].numpy()

    return Foreign('hloc', _saver(model.state_dict()), _quiet(describe))


def deep_vg(*, layer: bool = False, resnet: str = '') -> Foreign:
    """Return a checkpoint of deep-vg-benchmark; ``layer``: --fc_output_dim, from a training."""
    model = nn.Module()
    backbone, channels = _filled(vgg16(), 0.2), CHANNELS
    if resnet:
        children = list(getattr(torchvision.models, resnet)(weights=None).children())
        channels = 256 if resnet == 'resnet18' else 1024
        backbone = _filled(nn.Sequential(*children[:-3]), 0.2)
    model.add_module('backbone', backbone.eval())
    aggregation: nn.Module = CentroidLayer(channels)
    if layer:
        linear = nn.Linear(CLUSTERS * channels, PROJECTED)
        aggregation = nn.Sequential(aggregation, _whitening(linear))
    model.add_module('aggregation', aggregation)
    pca = None if layer else _pca(CLUSTERS * channels, whiten=False)

    def describe(image: Image) -> NDArray[np.float32]:
        vector = model.aggregation(model.backbone(_imagenet(image)))
        if pca is None:
            return functional.normalize(vector, dim=1)[0].numpy()
        return _apply_pca(vector.numpy(), pca)

    checkpoint: Any = model.state_dict()
    if layer:
        checkpoint = {
            'epoch_num': 9, 'model_state_dict': {
                f'module.{name}': value for name, value in checkpoint.items()},
            'recalls': np.array([80.1, 90.2]), 'best_r5': np.float64(90.2)}
    return Foreign('deep-vg', _saver(checkpoint), _quiet(describe), pca)


def openibl(*, parallel: bool = False) -> Foreign:
    """Return a checkpoint of OpenIBL with its PCA layer."""
    model = nn.Module()
    base = nn.Module()
    base.add_module('base', _filled(vgg16(), 20.0))
    model.add_module('base_model', base)
    model.add_module('net_vlad', CentroidLayer(CHANNELS))
    model.add_module('pca_layer', _whitening(nn.Conv2d(CLUSTERS * CHANNELS, PROJECTED, 1)))

    def describe(image: Image) -> NDArray[np.float32]:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        mean = torch.tensor(MEANS).view(1, 3, 1, 1) / 255
        vector = model.net_vlad(model.base_model.base((pixels - mean) / 0.00392156862745098))
        found = model.pca_layer(vector.view(1, -1, 1, 1)).view(1, -1)
        return functional.normalize(found, dim=-1)[0].numpy()

    state: Any = model.state_dict()
    if parallel:
        state = {'state_dict': {f'module.{name}': value for name, value in state.items()},
                 'epoch': 4, 'best_recall5': np.float64(0.97)}
    return Foreign('openibl', _saver(state), _quiet(describe))


def official(*, vladv2: bool = False) -> Foreign:
    """Return the official network as a MatConvNet struct export."""
    trunk = _filled(vgg16(), 20.0)
    centres = _centres(CLUSTERS, CHANNELS).numpy().T                            # (D, K)
    assignment = 6.0 * centres / np.linalg.norm(centres, axis=0)
    bias = np.zeros((1, CLUSTERS), np.float32)
    if vladv2:
        assignment, bias = 12.0 * centres, -6.0 * (centres ** 2).sum(axis=0, keepdims=True)
    whitening = _whitening(nn.Linear(CHANNELS * CLUSTERS, PROJECTED))
    matrix, offset = whitening.weight.detach().numpy().T, whitening.bias.detach().numpy()
    # The means of this file are its own, so that reading and guessing them differ.
    means = np.array([120.0, 112.0, 99.0])
    negated = -centres

    def describe(image: Image) -> NDArray[np.float32]:
        pixels = image.astype(np.float64) - means                               # (H, W, 3)
        x = trunk(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())[0].numpy()
        x = x / np.sqrt((x ** 2).sum(axis=0) + 1e-12)                           # preL2
        scores = np.einsum('dk,dhw->khw', assignment, x) + bias.reshape(-1, 1, 1)
        soft = np.exp(scores - scores.max(axis=0))
        soft /= soft.sum(axis=0)
        y = np.zeros((1, CLUSTERS, CHANNELS))
        for cluster in range(CLUSTERS):  # layerVLAD.m adds the stored, negative centre
            moved = x + negated[:, cluster].reshape(-1, 1, 1)
            y[0, cluster] = (soft[cluster] * moved).sum(axis=(1, 2))
        y /= np.sqrt((y ** 2).sum(axis=2, keepdims=True) + 1e-12)               # intranorm
        vector = y.flatten(order='F')                                           # d * K + k
        found = (vector / np.linalg.norm(vector)) @ matrix + offset
        return (found / np.linalg.norm(found)).astype(np.float32)

    stored = [assignment, *([bias] if vladv2 else []), negated]
    layers = _matconvnet(trunk, stored, matrix, offset)
    meta = {'normalization': {'averageImage': np.tile(means, (6, 8, 1)).astype(np.float32)}}
    return Foreign('mat', lambda path: scipy.io.savemat(
        path, {'net': {'layers': layers, 'meta': meta}}, appendmat=False), _quiet(describe))


def _matconvnet(
    trunk: nn.Sequential, vlad: list[NDArray[Any]], matrix: NDArray[Any], offset: NDArray[Any]
) -> NDArray[Any]:
    """Return the cell of layers: HWIO kernels, [1, 1, D, K] clusters, [1, 1, D * K, P] PCA."""
    layers: list[dict[str, Any]] = []
    for place, layer in enumerate(trunk):
        if isinstance(layer, nn.Conv2d):
            kernel = layer.weight.detach().permute(2, 3, 1, 0).numpy()
            layers.append({'type': 'conv', 'name': f'conv{place}', 'stride': 1, 'pad': 1,
                           'weights': _cell([kernel, layer.bias.detach().numpy()[:, None]])})
        elif isinstance(layer, nn.MaxPool2d):
            layers.append({'type': 'pool', 'name': f'pool{place}', 'method': 'max',
                           'pool': [2, 2], 'stride': 2, 'pad': 0})
        else:
            layers.append({'type': 'relu', 'name': f'relu{place}', 'leak': 0})
    four = [value.astype(np.float32).reshape((1, 1, *value.shape))
            if value.shape[0] > 1 else value.astype(np.float32) for value in vlad]
    normalize = {'type': 'normalize', 'param': [2 * CHANNELS, 1e-12, 1, 0.5]}
    layers += [
        {**normalize, 'name': 'preL2'},
        {'type': 'custom', 'name': 'vlad:core', 'K': CLUSTERS, 'D': CHANNELS,
         'vladDim': CLUSTERS * CHANNELS, 'weights': _cell(four)},
        {**normalize, 'name': 'vlad:intranorm'},
        {'type': 'custom', 'name': 'postL2'},
        {'type': 'conv', 'name': 'WPCA', 'stride': 1, 'pad': 0, 'weights': _cell(
            [matrix[None, None].astype(np.float32), offset[:, None].astype(np.float32)])},
        {'type': 'custom', 'name': 'finalL2'}]
    return _cell(layers)


def _cell(values: list[Any]) -> NDArray[Any]:
    """Return a MATLAB cell array."""
    cell = np.empty((1, len(values)), object)
    cell[0, :] = values
    return cell


def _filled(module: nn.Module, bias: float) -> nn.Module:
    """Fill a trunk with weights that keep the size of its signal, biases and statistics."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=bias)
            layer.running_mean.normal_(0.0, 0.3)
            layer.running_var.uniform_(0.5, 2.0)
    return module


def _centres(clusters: int, channels: int) -> Tensor:
    """Return centres such as unit features have: not longer than one, of unlike lengths."""
    length = 0.4 + 0.5 * torch.rand(clusters, 1)
    return length * functional.normalize(torch.randn(clusters, channels), dim=1)


def _whitening(layer: Any) -> Any:
    """Fill a projection with numbers that leave no value of its input without weight."""
    nn.init.normal_(layer.weight, std=1.0)
    nn.init.normal_(layer.bias, std=0.2)
    return layer


def _pca(size: int, *, whiten: bool) -> dict[str, NDArray[np.float64]]:
    """Return the attributes of a fitted ``sklearn.decomposition.PCA``."""
    basis, _ = np.linalg.qr(torch.randn(size, PROJECTED).double().numpy())
    return {'components': basis.T, 'mean': 0.05 * torch.randn(size).double().numpy(),
            'explained_variance': np.geomspace(1.0, 0.01, PROJECTED), 'whiten': np.array(whiten)}


def _apply_pca(
    vector: NDArray[np.float32], pca: dict[str, NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Return what ``PCA.transform`` and ``sklearn.preprocessing.normalize`` give."""
    found = (vector - pca['mean']) @ pca['components'].T
    if pca['whiten']:
        found = found / np.sqrt(pca['explained_variance'])
    return (found / np.linalg.norm(found))[0].astype(np.float32)


def _imagenet(image: Image) -> Tensor:
    """Return an image as ``ToTensor`` and ``Normalize`` with ImageNet's statistics give it."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    return (pixels - mean) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def _grey_levels(image: Image) -> Tensor:
    """Return an image as hloc feeds it: 0 to 255, minus the means of the official file."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return pixels - torch.tensor(MEANS).view(1, 3, 1, 1)


def _saver(checkpoint: object, *, old_format: bool = False) -> Callable[[Path], None]:
    """Return what writes a checkpoint."""
    return lambda path: torch.save(
        checkpoint, path, _use_new_zipfile_serialization=not old_format)


def _quiet(
    describe: Callable[[Image], NDArray[np.float32]]
) -> Callable[[Image], NDArray[np.float32]]:
    """Return a forward pass that records no gradients."""
    return torch.no_grad()(describe)


#: Name of a layout -> what makes a checkpoint in it.
FOREIGN: dict[str, Callable[[], Foreign]] = {
    'mat': official,
    'mat, vladv2': lambda: official(vladv2=True),
    'nanne': nanne,
    'nanne, vladv2': lambda: nanne(vladv2=True),
    'nanne, old format, two GPUs': lambda: nanne(parallel=True, old_format=True),
    'swarm-slam': lambda: nanne(whiten=True),
    'patch-netvlad': patch_netvlad,
    'hloc': hloc,
    'deep-vg': deep_vg,
    'deep-vg, linear layer': lambda: deep_vg(layer=True),
    'deep-vg, resnet18': lambda: deep_vg(resnet='resnet18'),
    'deep-vg, resnet50': lambda: deep_vg(resnet='resnet50'),
    'openibl': openibl,
    'openibl, two GPUs': lambda: openibl(parallel=True),
}


def make_foreign(layout: str, seed: int = 5) -> Foreign:
    """Return a checkpoint of one layout, the same for the same seed."""
    torch.manual_seed(seed)
    return FOREIGN[layout]()
