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
Read and write ``.vpr`` model files; needs neither torch nor an inference engine.

:mod:`vpr_compressed.model_file.container` has the layout and the history of the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import ModelFileError
from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.model_file.container import canonical_json
from vpr_compressed.model_file.container import fault
from vpr_compressed.model_file.container import Packer
from vpr_compressed.model_file.container import read_container
from vpr_compressed.model_file.container import unpack
from vpr_compressed.model_file.container import update_digest
from vpr_compressed.model_file.container import write_container
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import quantize
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.model_file.tensors import Tensor

PRECISIONS = ('fp32', 'fp16', 'int8')


@dataclass(frozen=True, kw_only=True)
class Model:
    """
    A network with its weights, as stored in one file.

    :param tensors: name -> weights; names and shapes are those of the specification
    :param calibration: how evidence for a place turns into decisions
    :param provenance: where it comes from: data, command, licence, measured accuracy
    :param activations: name of a layer, or ``image`` for the network input -> range in which
        its output is quantised; empty for float activations
    :param reference: descriptors of the reference images of ``runtime.parity``, float16
        ``(n, D)``; None if nobody has computed them
    """

    spec: NetworkSpec
    preprocessing: PreprocessingSpec
    tensors: Mapping[str, Tensor]
    calibration: DecisionCalibration = field(default_factory=DecisionCalibration)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    activations: Mapping[str, ActivationRange] = field(default_factory=dict)
    reference: NDArray[np.float16] | None = None

    @property
    def descriptor_id(self) -> str:
        """
        Sixteen hex digits; two models with equal ids give comparable descriptors.

        How the tensors are coded in a file does not count, their values do.
        """
        described: dict[str, Any] = {
            'spec': asdict(self.spec), 'preprocessing': asdict(self.preprocessing)}
        if self.activations:  # models without keep the id they had before there were any
            described['activations'] = _ranges_to_json(self.activations)
        digest = hashlib.sha256(canonical_json(described))
        for name in self.spec.tensor_shapes():
            update_digest(digest, self.tensors[name])
        return digest.hexdigest()[:16]

    @property
    def precision(self) -> str:
        """One of ``fp32``, ``fp16``, ``int8``, ``codebook``: the storage of the largest tensor."""
        tensor = self.tensors['projection.weight']
        if isinstance(tensor, QuantizedTensor):
            return 'int8'
        if isinstance(tensor, CodebookTensor):
            return 'codebook'
        return 'fp16' if tensor.dtype == np.float16 else 'fp32'

    def float_tensor(self, name: str) -> NDArray[np.float32]:
        """Return one tensor as float32."""
        tensor = self.tensors[name]
        if isinstance(tensor, QuantizedTensor | CodebookTensor):
            return tensor.dequantize()
        return np.asarray(tensor, np.float32)

    def with_precision(self, precision: str) -> Model:
        """
        Return the model with its weights stored as ``fp32``, ``fp16`` or ``int8``.

        ``int8`` rounds the projection, 97 % of the weights, and keeps the trunk in fp16:
        rounding the trunk after training snaps its weights back to where they were before
        (docs/decisions.md). Biases and the cluster assignment stay float32 in all of them.

        :raises ModelFileError: for an unknown precision
        """
        if precision not in PRECISIONS:
            raise ModelFileError(
                f'unknown precision {precision!r}; one of {", ".join(PRECISIONS)}')
        tensors: dict[str, Tensor] = {}
        for name in self.spec.tensor_shapes():
            values = self.float_tensor(name)
            may_round = name.endswith('.weight') and not name.startswith('netvlad.')
            if precision == 'fp32' or not may_round:
                tensors[name] = values
            elif precision == 'int8' and name == 'projection.weight':
                tensors[name] = quantize(values)
            else:
                tensors[name] = values.astype(np.float16)
        return replace(self, tensors=tensors, reference=None)


def default_model_path() -> Path:
    """Return the path of the model that is used when none is named."""
    return _packaged('default')


def find_model(given: Path | None = None) -> Path:
    """
    Return the file a user means.

    :param given: a file, or the name of a model in the package, such as ``small``; None is the
        default. What is neither is returned as it is, for :func:`read_model` to refuse
    """
    if given is None:
        return default_model_path()
    is_name = len(given.parts) == 1 and not given.suffix and not given.is_file()
    return _packaged(given.name) if is_name and _packaged(given.name).exists() else given


def write_model(path: Path, model: Model, *, overwrite: bool = False) -> None:
    """
    Write one model file; it appears under its name only when it is complete.

    :raises ModelFileError: if ``path`` exists, or cannot be written
    """
    _check(model, path)
    packer = Packer()
    header = {
        'format': 'vpr_compressed model', 'spec': asdict(model.spec),
        'preprocessing': asdict(model.preprocessing), 'decision': asdict(model.calibration),
        'descriptor_id': model.descriptor_id, 'provenance': dict(model.provenance),
        'activations': _ranges_to_json(model.activations),
        'tensors': [packer.add(name, model.tensors[name]) for name in model.spec.tensor_shapes()],
        'reference': None if model.reference is None else packer.add(
            'reference', np.asarray(model.reference, np.float16))}
    write_container(path, header, packer.payload, overwrite=overwrite)


def read_model(path: Path) -> Model:
    """
    Read one model file and check all of it before anything is used.

    :returns: the model; its tensors are read-only views of one buffer
    :raises ModelFileError: missing, not a model, truncated, damaged, or of a newer version
    """
    return model_of(*read_container(path), path)


def model_of(header: Mapping[str, Any], payload: memoryview, path: Path) -> Model:
    """Build the model that header and payload describe."""
    try:
        reference = header.get('reference')
        model = Model(
            spec=config_from_mapping(NetworkSpec, header['spec']),
            preprocessing=config_from_mapping(PreprocessingSpec, header['preprocessing']),
            tensors={entry['name']: unpack(entry, payload) for entry in header['tensors']},
            calibration=config_from_mapping(DecisionCalibration, header.get('decision', {})),
            provenance=header['provenance'],
            activations={name: ActivationRange(float(scale), int(zero)) for name, (scale, zero)
                         in header.get('activations', {}).items()},
            reference=None if reference is None else _descriptors(reference, payload))
        stored_id = header['descriptor_id']
    except ModelFileError as error:  # coded symbols are damaged
        raise ModelFileError(f'{path}: {error}') from error
    except (KeyError, TypeError, ValueError, VprError) as error:
        raise ModelFileError(
            f'{path} has a header this version cannot use ({error!r}); it was probably written '
            'by a newer version: update vpr_compressed or export the model again') from error
    _check(model, path)
    if model.descriptor_id != stored_id:
        raise ModelFileError(f'{path}: weights do not belong to descriptor {stored_id}')
    return model


def _packaged(name: str) -> Path:
    """Return where a model of the package lies."""
    return Path(__file__).resolve().parents[1] / 'models' / f'{name}.vpr'


def _ranges_to_json(activations: Mapping[str, ActivationRange]) -> dict[str, Any]:
    """Return name -> [scale, zero point]."""
    return {name: [found.scale, found.zero_point] for name, found in activations.items()}


def _descriptors(entry: Mapping[str, Any], payload: memoryview) -> NDArray[np.float16]:
    """Return the reference descriptors."""
    found = unpack(entry, payload)
    if not isinstance(found, np.ndarray) or found.dtype != np.float16:
        raise ValueError(f'reference descriptors are {entry["dtype"]}, must be float16')
    return np.asarray(found, np.float16)


def _check(model: Model, path: Path) -> None:
    """Raise unless everything fits the specification."""
    wanted = model.spec.tensor_shapes()
    if set(wanted) != set(model.tensors):
        wrong = sorted(set(wanted) ^ set(model.tensors))
        raise ModelFileError(f'{path}: tensors do not fit the network, see {", ".join(wrong)}')
    for name, shape in wanted.items():
        if found := fault(model.tensors[name], shape):
            raise ModelFileError(f'{path}: tensor {name!r} {found}')
    outputs = {INPUT, *(layer.name for layer in model.spec.layers)}
    for name, span in model.activations.items():
        if name not in outputs:
            raise ModelFileError(f'{path}: activation range of {name!r}, which is no layer')
        if not (math.isfinite(span.scale) and span.scale > 0 and 0 <= span.zero_point <= 255):
            raise ModelFileError(
                f'{path}: activation range {span} of {name!r}; the scale must be above 0 and '
                'the zero point in [0, 255]')
    if model.reference is not None:
        shape = model.reference.shape
        if len(shape) != 2 or shape[1] != model.spec.dimension or not np.isfinite(
                model.reference).all():
            raise ModelFileError(
                f'{path}: reference descriptors of shape {shape}, must be finite and '
                f'(n, {model.spec.dimension})')
