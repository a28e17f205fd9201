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

"""The models of an evaluation: checked before any work starts, told apart, described by facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.offline.network.engines import resolve_engine
from vpr_compressed.system.machine import sha256_of


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """
    A model file and what is known of it without running it.

    :param label: short name that no other model of the evaluation has
    :param engine: the engine it runs on; ``auto`` is resolved
    :param threads: CPU threads of the engine, 0 for its own choice
    :param dimension: values of a descriptor, 4 bytes each as the network gives it
    :param parameters: number of weights, zeros included
    :param multiply_adds: multiplications of one image, each with an addition; says what the
        network costs on any machine, while milliseconds are of this one
    """

    label: str
    name: str
    path: Path
    sha256: str
    file_bytes: int
    descriptor_id: str
    dimension: int
    precision: str
    parameters: int
    multiply_adds: int
    engine: str
    threads: int


def find_models(
    given: Sequence[Path | None], *, engine: str, threads: int
) -> tuple[EvaluatedModel, ...]:
    """
    Read every model and choose its engine.

    :param given: model files or names of packaged models, None for the default one
    :param engine: one of :data:`.engines.ALL_ENGINES`, or ``auto``
    :raises ModelFileError: a file is missing or damaged
    :raises EngineError: the engine is not installed, or none can run a model
    :raises ConfigError: a model is given twice
    """
    paths = [find_model(model) for model in given]
    for path in paths:
        # All of them before the first engine is tried, which may take seconds.
        read_model(path)
    found = [
        _find(path, label, engine, threads) for path, label in zip(paths, labels(paths))]
    first: dict[str, Path] = {}
    for model in found:
        if model.sha256 in first:
            raise ConfigError(
                f'{model.path} is the same model as {first[model.sha256]}; give each --model once')
        first[model.sha256] = model.path
    return tuple(found)


def labels(paths: Sequence[Path]) -> list[str]:
    """
    Return a short name for each path: that of the file, with the folders that tell it apart.

    Three files ``a/model.vpr``, ``b/model.vpr`` and ``small.vpr`` are called ``a/model``,
    ``b/model`` and ``small``.
    """
    parts = [path.absolute().with_suffix('').parts for path in paths]
    return [
        next(
            (name for length in range(1, len(mine) + 1)
             if [other[-length:] for other in parts].count(mine[-length:]) == 1
             and (name := '/'.join(mine[-length:]))),
            '/'.join(mine))
        for mine in parts]


def _find(path: Path, label: str, engine: str, threads: int) -> EvaluatedModel:
    """Return the facts of one model."""
    model = read_model(path)
    size = model.preprocessing
    return EvaluatedModel(
        label=label, name=path.stem, path=path, sha256=sha256_of(path),
        file_bytes=path.stat().st_size, descriptor_id=model.descriptor_id,
        dimension=model.spec.dimension, precision=model.precision,
        parameters=model.spec.parameters(),
        multiply_adds=sum(multiply_adds(model.spec, size.width, size.height).values()),
        engine=resolve_engine(path, model, engine, threads).engine, threads=threads)
