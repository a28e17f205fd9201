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
Read what published networks come as: PyTorch checkpoints, MATLAB networks, and PCAs in ``.npz``.

Nothing in a file is ever run. ``torch.load(weights_only=True)`` reads tensors and plain data.
Training scripts also store their recalls as NumPy numbers; those are read as nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
import pickle
import re
from typing import Any
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from vpr_compressed.errors import ModelFileError
from vpr_compressed.offline.importers.parts import Projection

#: Before this version a crafted file could run code in spite of weights_only (CVE-2025-32434).
_SAFE_TORCH = (2, 6)
#: Names under which training scripts keep the weights.
_WRAPPERS = ('state_dict', 'model_state_dict')
_ZIP = b'PK\x03\x04'
#: Before PyTorch 1.6 checkpoints were pickles that begin with this number.
_OLD_FORMAT = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'
_PICKLE = b'\x80'
_SAVE_AGAIN = 'torch.save(model.state_dict(), "weights.pth")'


class _Ignored:
    """Stands for a number of NumPy in a checkpoint: recalls, the best score."""

    def __init__(self, *_: object) -> None:
        """Take what it is made from and keep nothing."""

    def __setstate__(self, _: object) -> None:
        """Take its state and keep nothing."""


_NUMPY = ('multiarray.scalar', 'multiarray._reconstruct')
_IGNORED: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_Ignored, name) for name in (
        'numpy.dtype', 'numpy.ndarray', '_codecs.encode',
        *(f'numpy.{core}.{name}' for core in ('core', '_core') for name in _NUMPY))]


class StateDict:
    """
    Named tensors of a checkpoint, taken one by one so that nothing is left over unseen.

    :param tensors: names without ``module.``, which ``DataParallel`` puts in
    :param path: for error messages
    """

    def __init__(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        self.path = path
        self._tensors = dict(tensors)
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def below(self, prefix: str) -> list[str]:
        """Return the names that begin with a prefix, without it."""
        return [name[len(prefix):] for name in self._tensors if name.startswith(prefix)]

    def take(self, name: str, family: str) -> NDArray[np.float32]:
        """
        Return one tensor as float32.

        :param family: who needs it, for the error
        :raises ModelFileError: missing, of integers, or not finite
        """
        if name not in self._tensors:
            raise ModelFileError(
                f'{self.path} has no {name!r}, which family {family!r} needs; it has '
                f'{self.describe()}')
        self._taken.add(name)
        tensor = self._tensors[name].detach()
        if not tensor.is_floating_point() or not tensor.ndim or not bool(
                torch.isfinite(tensor).all()):
            raise ModelFileError(
                f'{self.path}: {name!r}, {tensor.dtype} of shape {list(tensor.shape)}, holds no '
                'finite floating point numbers; copy the file again, or take another checkpoint '
                'of the training')
        values: NDArray[np.float32] = tensor.to(torch.float32).numpy()
        return values

    def refuse_rest(self, family: str) -> None:
        """
        Refuse tensors nobody has taken: they belong to layers that would be missing.

        :raises ModelFileError: naming some
        """
        rest = [name for name in self._tensors if name not in self._taken
                and not name.endswith('num_batches_tracked')]
        if rest:
            raise ModelFileError(
                f'{self.path} has {len(rest)} tensors that family {family!r} does not know: '
                f'{_some(rest)}; another architecture was trained here than VGG16 or a ResNet '
                'with NetVLAD')

    def describe(self) -> str:
        """Return names and shapes in words."""
        return f'{len(self._tensors)} tensors: ' + _some([
            f'{name} {list(tensor.shape)}' for name, tensor in self._tensors.items()], 8)


def read_state_dict(path: Path) -> StateDict:
    """
    Read the tensors of a checkpoint, from wherever in it they are.

    :param path: file written by ``torch.save``, in its new or its old format
    :raises ModelFileError: damaged, without tensors, or only to be had by unpickling
    """
    content = _load(path)
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    tensors = {str(name): value for name, value in content.items()
               if isinstance(value, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise ModelFileError(
            f'{path} holds no named tensors but {_kind(content)}; a state dict is needed: '
            f'{_SAVE_AGAIN}')
    return StateDict({
        '.'.join(part for part in name.split('.') if part != 'module'): value
        for name, value in tensors.items()}, path)


def _load(path: Path) -> object:
    """Return what a file holds, plain data and tensors only."""
    version = tuple(int(part) for part in re.findall(r'\d+', torch.__version__)[:2])
    if version < _SAFE_TORCH:
        raise ModelFileError(
            f'torch {torch.__version__} can be made to run code by a crafted checkpoint '
            '(CVE-2025-32434); install torch 2.6 or newer to import weights')
    with path.open('rb') as stream:
        start = stream.read(len(_OLD_FORMAT))
    is_zip = start.startswith(_ZIP)
    if not is_zip and not start.startswith(_OLD_FORMAT):
        if start.startswith(_PICKLE):
            raise ModelFileError(_needs_unpickling(path, 'a pickled object'))
        raise ModelFileError(
            f'{path} is neither a PyTorch checkpoint nor a MATLAB file; a state dict is needed: '
            f'{_SAVE_AGAIN}')
    try:
        with torch.serialization.safe_globals(_IGNORED):
            # Mapped, a file of 600 MB is not held in memory beside the model made of it.
            return torch.load(path, map_location='cpu', weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        raise ModelFileError(_needs_unpickling(
            path, repr(found.group(1)) if found else 'more than tensors and plain data',
        )) from error
    except Exception as error:  # torch has no exception type of its own for damaged files
        reason = str(error).partition('\n')[0][:120] or type(error).__name__
        raise ModelFileError(
            f'{path} is truncated or damaged, or no PyTorch checkpoint ({reason}); copy or '
            'download it again') from error


def _needs_unpickling(path: Path, what: str) -> str:
    """Return why a file is not read, and what to do."""
    return (f'{path} holds {what}, which only unpickling could load, and that would run code '
            'from the file; it is never done here. If you trust the file, load it with the '
            f'repository it comes from and save the weights alone: {_SAVE_AGAIN}')


def _kind(content: object) -> str:
    """Return what was found, in words."""
    if isinstance(content, Mapping):
        return f'a dictionary with {_some([str(key) for key in content]) or "nothing"}'
    return f'a {type(content).__name__}'


def _some(names: list[str], count: int = 4) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - count
    return ', '.join(names[:count]) + (f' and {more} more' if more > 0 else '')


#: How to get a MATLAB file that can be read.
MAT_REMEDY = (
    'take the exported Pitts30K_struct.mat or TokyoTM_struct.mat (links in '
    'hloc/extractors/netvlad.py of cvg/Hierarchical-Localization), or export the network in '
    'MATLAB with matlab/net_class2struct.m of uzh-rpg/netvlad_tf_open, with the folder of '
    'Relja/netvlad on the path')
HOW_TO_SAVE = (
    'numpy.savez("pca.npz", components=pca.components_, mean=pca.mean_, '
    'explained_variance=pca.explained_variance_, whiten=pca.whiten)')


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
            f'{path} has no MatConvNet network "net" with "layers" and "meta"; {MAT_REMEDY}')
    return net


def read_pca(path: Path) -> Projection:
    """
    Read a PCA as a projection: ``(x - mean) @ components.T``, whitened if the file says so.

    Arrays: ``components`` ``(P, V)`` and ``mean`` ``(V,)``; with ``whiten`` true also
    ``explained_variance`` ``(P,)``: the attributes of ``sklearn.decomposition.PCA``.

    :param path: ``.npz`` file
    :returns: weights for vectors in the order the PCA was fitted on
    :raises ModelFileError: missing, pickled, damaged, or incomplete
    """
    arrays = _read(path)
    for name in ('components', 'mean'):
        if name not in arrays:
            raise ModelFileError(
                f'{path} has {", ".join(sorted(arrays)) or "no arrays"} and no {name!r}; save the '
                f'PCA with {HOW_TO_SAVE}')
    components = arrays['components'].astype(np.float64)
    mean = arrays['mean'].astype(np.float64).reshape(-1)
    if components.ndim != 2 or components.shape[1] != mean.size:
        raise ModelFileError(
            f'{path} has components of shape {components.shape} and a mean of {mean.size} values; '
            '(P, V) and V values are needed')
    if bool(arrays.get('whiten', np.zeros(1)).any()):
        components = components / np.sqrt(_variances(arrays, len(components), path))[:, None]
    weight = components.astype(np.float32)
    bias = (-components @ mean).astype(np.float32)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelFileError(f'{path} holds numbers that are not finite; fit the PCA again')
    return Projection(weight=weight, bias=bias, ordered=True, origin=f'PCA {path.name}')


def _numbers(name: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return an array of a file, or raise ValueError if it holds no numbers."""
    if array.dtype.kind not in 'biuf':
        raise ValueError(f'{name} holds no numbers')
    return array


def _variances(
    arrays: Mapping[str, NDArray[np.generic]], rows: int, path: Path
) -> NDArray[np.float64]:
    """Return what a whitened PCA divides by, squared."""
    found = arrays.get('explained_variance', np.zeros(0)).astype(np.float64).reshape(-1)
    if found.size != rows:
        raise ModelFileError(
            f'{path} says whiten and has {found.size} values of explained_variance for {rows} '
            f'components; save the PCA with {HOW_TO_SAVE}')
    return np.asarray(np.maximum(found, np.finfo(np.float64).eps))


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a file; nothing is ever unpickled."""
    try:
        with path.open('rb') as stream:
            if not stream.read(4).startswith(b'PK'):
                raise ModelFileError(
                    f'{path} is no .npz file. A pickled PCA is not loaded: unpickling runs code '
                    'from the file. If you trust it, convert it where scikit-learn is installed: '
                    f'pca = pickle.load(open("{path.name}", "rb")); {HOW_TO_SAVE}')
        with np.load(path, allow_pickle=False) as stored:
            return {name: _numbers(name, stored[name]) for name in stored.files}
    except OSError as error:
        raise ModelFileError(
            f'cannot read the PCA {path}: {error.strerror or error}') from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise ModelFileError(
            f'{path} is damaged, or holds pickled objects, which are not loaded ({error}); save '
            f'the PCA with {HOW_TO_SAVE}') from error
