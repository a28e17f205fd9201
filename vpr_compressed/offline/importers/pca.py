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
A PCA fitted elsewhere, read from a ``.npz`` file.

Arrays: ``components`` ``(P, V)`` and ``mean`` ``(V,)``; with ``whiten`` true also
``explained_variance`` ``(P,)``: the attributes of ``sklearn.decomposition.PCA``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ModelFileError
from vpr_compressed.offline.importers.parts import Projection

HOW_TO_SAVE = (
    'numpy.savez("pca.npz", components=pca.components_, mean=pca.mean_, '
    'explained_variance=pca.explained_variance_, whiten=pca.whiten)')


def read_pca(path: Path) -> Projection:
    """
    Read a PCA as a projection: ``(x - mean) @ components.T``, whitened if the file says so.

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


def _numbers(name: str, array: object) -> NDArray[np.generic]:
    """
    Return an entry of a file if it is an array of numbers.

    :raises ValueError: if not
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'biuf':
        raise ValueError(f'{name} holds no numbers')
    return array


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
