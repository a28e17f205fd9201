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

"""The numbers of one evaluation, ready for a file, a page or a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
import hashlib
from importlib import metadata
import os
from pathlib import Path
import platform
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import psutil

from vpr_compressed.evaluation import metrics
from vpr_compressed.evaluation.benchmark import latencies_ms
from vpr_compressed.evaluation.benchmark import Measurement
from vpr_compressed.evaluation.ground_truth import GroundTruth
from vpr_compressed.evaluation.model_cost import LoadedExtractor
from vpr_compressed.sources import ImageSource

FORMAT = 'vpr_compressed report'
VERSION = 1
CUTOFFS = (1, 5, 10)
#: Cut-offs of the recall curve.
CURVE = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25)
#: Candidates per query that the report file lists.
LISTED = 10
_PACKAGES = (
    'vpr_compressed', 'numpy', 'onnxruntime', 'torch', 'faiss-cpu', 'opencv-python-headless',
    'opencv-python', 'rosbags')


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    One evaluation: what was run, what came out, and on what.

    :param recall: N -> recall@N over the answerable queries
    :param latency_ms: p50 and p95 from decoded image to answer
    :param recall_curve: N -> recall@N for the plot
    :param setting: command, versions, machine, sources, model: what is needed to repeat it
    """

    measurement: Measurement
    truth: GroundTruth
    recall: Mapping[int, float]
    precision_at: Mapping[int, float]
    mean_average_precision: float
    recall_curve: Mapping[int, float]
    curve: metrics.PrecisionRecallCurve
    accepted: metrics.AcceptedMatches
    latency_ms: Mapping[str, float]
    inference_ms: Mapping[str, float]
    search_ms: Mapping[str, float]
    model_bytes: int
    model_resident_bytes: int
    load_s: float
    setting: Mapping[str, Any]

    @property
    def best_rows(self) -> metrics.IntArray:
        """Return the most similar place of each query, ``(Q,)``, -1 for none."""
        return self.measurement.rows[:, 0]

    @property
    def best_similarities(self) -> metrics.FloatArray:
        """Return the similarity to the most similar place, ``(Q,)``."""
        return self.measurement.similarities[:, 0]

    @property
    def best_right(self) -> NDArray[np.bool_]:
        """Return whether the most similar place is right, bool ``(Q,)``."""
        return metrics.hits(self.measurement.rows[:, :1], self.truth.positives)[:, 0]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``report.json``."""
        measured = self.measurement
        return {
            'format': FORMAT, 'version': VERSION,
            'recall': _text_keys(self.recall), 'precision_at': _text_keys(self.precision_at),
            'map': self.mean_average_precision, 'auc_pr': self.curve.area,
            'max_recall_at_100_precision': self.curve.max_recall_at_full_precision,
            'accepted_matches': asdict(self.accepted),
            'queries': len(measured.queries), 'answerable_queries': self.truth.answerable,
            'places': len(measured.reference_names), 'ranking_depth': measured.rows.shape[1],
            'ground_truth': self.truth.description,
            'latency_ms': dict(self.latency_ms), 'inference_ms': dict(self.inference_ms),
            'search_ms': dict(self.search_ms), 'load_s': self.load_s,
            'model_bytes': self.model_bytes, 'resident_bytes': measured.resident_bytes,
            'model_resident_bytes': self.model_resident_bytes,
            'bytes_per_place': measured.bytes_per_place, **self.setting,
            'recall_curve': _text_keys(self.recall_curve), 'per_query': self._per_query()}

    def _per_query(self) -> list[dict[str, Any]]:
        """Return what happened to each query."""
        measured = self.measurement
        entries = []
        for number, query in enumerate(measured.queries):
            candidates = [
                {'reference': int(row), 'similarity': round(float(similarity), 6)}
                for row, similarity in zip(
                    measured.rows[number, :LISTED], measured.similarities[number, :LISTED])
                if row >= 0]
            match = None if query.match_row is None else {
                'reference': query.match_row, 'similarity': query.match_similarity,
                'confidence': query.confidence, 'votes': query.votes,
                'correct': query.match_row in self.truth.positives[number]}
            entries.append({
                'index': query.index, 'name': query.name, 'stamp_ns': query.stamp_ns,
                'answerable': bool(self.truth.positives[number]), 'candidates': candidates,
                'match': match})
        return entries


def summarise(
    measurement: Measurement, truth: GroundTruth, loaded: LoadedExtractor,
    setting: Mapping[str, Any],
) -> Report:
    """
    Compute all numbers of an evaluation.

    :param setting: see :func:`describe_setting`
    :raises GroundTruthError: if the ground truth has another number of queries
    """
    rows, positives = measurement.rows, truth.positives
    best = metrics.hits(rows[:, :1], positives)[:, 0]
    found = rows[:, 0] >= 0
    return Report(
        measurement=measurement, truth=truth,
        recall=metrics.recall_at(rows, positives, CUTOFFS),
        precision_at=metrics.precision_at(rows, positives, CUTOFFS),
        mean_average_precision=metrics.mean_average_precision(rows, positives),
        recall_curve=metrics.recall_at(rows, positives, CURVE),
        curve=metrics.precision_recall_curve(
            measurement.similarities[found, 0], best[found], truth.answerable),
        accepted=metrics.accepted_matches(
            [query.match_row for query in measurement.queries], positives),
        latency_ms=metrics.percentiles(latencies_ms(measurement.queries)),
        inference_ms=_percentiles([query.inference_ms for query in measurement.queries]),
        search_ms=_percentiles([query.search_ms for query in measurement.queries]),
        model_bytes=loaded.extractor.model_bytes, model_resident_bytes=loaded.resident_bytes,
        load_s=loaded.load_s, setting=setting)


def describe_setting(
    loaded: LoadedExtractor, measurement: Measurement, reference: ImageSource,
    query: ImageSource, *, command: str, threads: int,
) -> dict[str, Any]:
    """Return everything somebody needs to repeat the evaluation and to trust it."""
    extractor = loaded.extractor
    return {
        'engine': extractor.engine_name, 'threads': threads,
        'precision': extractor.precision, 'dimension': extractor.dimension,
        'descriptor_id': extractor.descriptor_id,
        'model': {
            'name': extractor.model_name, 'path': str(extractor.model_path),
            'sha256': sha256_of(extractor.model_path)},
        'reference': _source(reference, measurement.reference_sha256),
        'query': _source(query, measurement.query_sha256),
        'command': command, 'created': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        'versions': versions(), 'machine': machine()}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    found = {'python': platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and system of this computer."""
    return {
        'processor': _processor(), 'cores': os.cpu_count() or 0,
        'memory_bytes': psutil.virtual_memory().total, 'system': platform.platform(),
        'python': sys.implementation.name}


def _processor() -> str:
    """Return the name of the processor; Linux does not give it to ``platform``."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def _source(source: ImageSource, digest: str) -> dict[str, Any]:
    """Return what a source is and a digest of its pixels."""
    return {
        'description': source.describe(), 'path': str(source.path), 'kind': source.kind,
        'images': len(source), 'pixels_sha256': digest}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50 and p95."""
    return metrics.percentiles(np.array(values, np.float64))


def _text_keys(values: Mapping[int, float]) -> dict[str, float]:
    """Return the mapping with the keys JSON wants."""
    return {str(key): value for key, value in values.items()}
