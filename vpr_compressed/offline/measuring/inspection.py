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

"""What is in a model or map file, and whether a model computes here what it should."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
import time
from typing import Any

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.report import file_report
from vpr_compressed.model_file.report import TensorReport
from vpr_compressed.offline.measuring.memory_stages import measure_memory
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Keyframe
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.parity import check_parity
from vpr_compressed.runtime.parity import LEAST_COSINE

_SQLITE_MAGIC = b'SQLite format 3\0'


def inspect_file(
    file: Path | None, *, check: bool = False, memory_with: tuple[str, int] | None = None
) -> dict[str, Any]:
    """
    Return the facts of a file; which kind it is, is found by looking into it.

    :param file: model or map file, name of a packaged model, None for the default one
    :param check: run a model on its reference images too
    :param memory_with: return instead what a process with this engine and so many places holds
    :returns: plain data; names of bytes and stamps end so
    :raises VprError: not readable, damaged, or a map was to be run
    """
    path = find_model(file)
    if _is_map(path):
        if check or memory_with:
            raise VprError(f'{path} is a map; --check and --memory need a model')
        return _map_facts(path)
    facts: dict[str, Any] = _model_facts(path) if memory_with is None else {
        'kind': 'model', 'path': str(path), 'memory': measure_memory(path, *memory_with)}
    if check:
        facts['check'] = _check(path)
    return facts


def refuse_other_descriptors(facts: dict[str, Any]) -> None:
    """
    Refuse a model that does not compute here what it computed where it was made.

    :param facts: of :func:`inspect_file` with ``check``
    :raises VprError: its descriptors differ, or the file holds none to compare with
    """
    path, check = facts['path'], facts['check']
    found = check['lowest_cosine']
    if found is None:
        raise VprError(
            f'{path} holds no reference descriptors to check against; models written by '
            'vpr_compressed compress do')
    if not found >= LEAST_COSINE:
        raise VprError(
            f'{path} gives other descriptors here than where it was made: cosine {found:.4f}, '
            f'at least {LEAST_COSINE} is needed; do not use it with {check["engine"]} on this '
            'machine')


def _is_map(path: Path) -> bool:
    """Return whether a file is a map (an SQLite database) and not a model."""
    try:
        with path.open('rb') as stream:
            return stream.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError as error:
        raise VprError(
            f'cannot read {path}: {error.strerror}; give a .vpr model or a .vprmap map file'
        ) from error


def _model_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a model file."""
    model = read_model(path)
    report = file_report(path)
    spec = model.spec
    return {
        'kind': 'model', 'path': str(path), 'bytes': report.file_bytes,
        'entropy_bound_bytes': report.bound_bytes,
        'over_bound_percent': 100 * (report.file_bytes / report.bound_bytes - 1),
        'symbol_bound_bytes': report.symbol_bound_bytes,
        'precision': model.precision, 'activation_ranges': len(model.activations),
        'reference_descriptors': 0 if model.reference is None else len(model.reference),
        'descriptor_id': model.descriptor_id,
        'trunk': spec.trunk, 'layers': len(spec.layers), 'clusters': spec.clusters,
        'dimension': spec.dimension, 'parameters': spec.parameters(),
        'preprocessing': asdict(model.preprocessing),
        'decision': {
            'curves': model.calibration.origin,
            'on_a_walk': _curve(model.calibration.walk),
            'from_one_image': _curve(model.calibration.single),
            'exploring_logit': model.calibration.exploring_logit},
        'provenance': dict(model.provenance),
        'tensors': [_tensor(row) for row in report.tensors]}


def _curve(curve: ConfidenceCurve) -> dict[str, Any]:
    """Return what makes a place sure, and how sure it must be to be reported."""
    return {
        'weights': dict(zip(curve.evidence, curve.weights)), 'intercept': curve.intercept,
        'confidence_needed': {
            f'for min_precision {precision:g}': threshold
            for precision, threshold in zip(curve.precisions, curve.thresholds)}}


def _check(path: Path) -> dict[str, Any]:
    """
    Run the default engine on the reference images of a model.

    :returns: milliseconds to read the file and to prepare the engine, and the lowest cosine to
        the descriptors in the file; None if it holds none
    """
    started = time.perf_counter()
    model = read_model(path)
    read = time.perf_counter()
    engine = ENGINES.load(model)
    ready = time.perf_counter()
    return {
        'engine': engine.name, 'read_ms': 1e3 * (read - started),
        'engine_ms': 1e3 * (ready - read), 'lowest_cosine': check_parity(model, engine)}


def _tensor(row: TensorReport) -> dict[str, Any]:
    """Return one row of the table of tensors."""
    symbols = row.distinct
    return {
        'name': row.name, 'shape': list(row.shape), 'dtype': row.dtype, 'coding': row.coding,
        'symbols': symbols,
        'bits': max(1, (symbols - 1).bit_length()) if symbols else int(row.dtype[-2:]),
        'zeros_percent': round(100 * row.zeros, 2), 'bytes': row.stored_bytes,
        'bound_bytes': round(row.bound_bytes, 1)}


def _map_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a map file."""
    with PlaceMap.open(path) as place_map:
        keyframes = place_map.keyframes()
        return {
            'kind': 'map', 'path': str(path), 'bytes': path.stat().st_size,
            'places': len(place_map), 'dimension': place_map.dimension,
            'descriptor_id': place_map.descriptor_id, 'model_name': place_map.model_name,
            'descriptor_dtype': place_map.descriptor_dtype,
            'written_by': f'vpr_compressed {place_map.package_version}',
            'bytes_per_place': place_map.bytes_per_place, 'index_bytes': place_map.index_bytes,
            'thumbnail_bytes': place_map.thumbnail_bytes,
            'sessions': [
                _session_facts(number, name, [k for k in keyframes if k.session == number])
                for number, name in place_map.sessions().items()]}


def _session_facts(number: int, name: str, keyframes: list[Keyframe]) -> dict[str, Any]:
    """Return one row of the table of sessions."""
    stamps = [keyframe.stamp_ns for keyframe in keyframes]
    return {
        'session': number, 'name': name, 'places': len(keyframes),
        'with_pose': sum(keyframe.pose is not None for keyframe in keyframes),
        'first_stamp_ns': min(stamps, default=None), 'last_stamp_ns': max(stamps, default=None)}
