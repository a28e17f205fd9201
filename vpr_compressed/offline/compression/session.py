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

"""What the ``compress`` verb works on: parent, data, steps, measured rows, verdict, model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
import json
from pathlib import Path

import numpy as np

from vpr_compressed import __version__
from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import TrainingError
from vpr_compressed.errors import VprError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.offline.accuracy.acceptance import AcceptanceConfig
from vpr_compressed.offline.accuracy.acceptance import judge
from vpr_compressed.offline.accuracy.acceptance import judge_agreement
from vpr_compressed.offline.compression.compressor import Compressor
from vpr_compressed.offline.compression.data import measure_row
from vpr_compressed.offline.compression.data import MeasuredModel
from vpr_compressed.offline.compression.data import open_data
from vpr_compressed.offline.compression.data import Origin
from vpr_compressed.offline.compression.display import Display
from vpr_compressed.offline.compression.recipe import describe as describe_step
from vpr_compressed.offline.compression.recipe import options_of
from vpr_compressed.offline.compression.recipe import Recipe
from vpr_compressed.offline.compression.student import Student
from vpr_compressed.offline.reports.compression_report import write_report
from vpr_compressed.offline.reports.compression_rows import ReportContext
from vpr_compressed.offline.reports.compression_rows import SensitivityRow
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.parallel import stop_signals
from vpr_compressed.offline.training.parallel import StoppedError
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.parity import describe_reference
from vpr_compressed.system.files import write_whole
from vpr_compressed.system.processes import MeasurementCancelledError

PARENT = 'parent'


@dataclass(frozen=True, kw_only=True)
class CompressJob:
    """
    What to compress, how, on what, and where to.

    :param name: of the recipe
    :param parent: model file to compress
    :param out: receives ``model.vpr``, the report, ``checkpoint.pt``, ``rows.json`` and a model
        file per step under ``steps/``
    :param cache: folder for images at network size, shared by several runs
    :param command: for the report
    :param threads: CPU threads of the engine that measures, 0 for all cores
    """

    recipe: Recipe
    name: str
    parent: Path
    origin: Origin
    out: Path
    cache: Path
    command: str
    threads: int = 0


def compress(job: CompressJob, display: Display) -> bool:
    """
    Do all steps of a recipe, measure, judge and write; in every process of ``torchrun``.

    :returns: whether the result was accepted; True in all processes but the main one
    :raises StoppedError: when asked to stop; the same job again goes on
    :raises VprError: if parent or data cannot be used, or a checkpoint belongs to others
    """
    with parallel.joined(), stop_signals() as stopped:
        try:
            return _Session(job, display, stopped).run()
        except (StoppedError, MeasurementCancelledError) as error:
            parallel.tell('stopped; give the same command again to go on')
            raise StoppedError(str(error)) from error
        finally:
            display.close()


class _Session:
    """One recipe at work in one folder, in every process; the main one alone writes there."""

    def __init__(self, job: CompressJob, display: Display, stopped: Callable[[], bool]) -> None:
        self._job, self._display, self._stopped = job, display, stopped
        self._recipe, self._out = job.recipe, job.out
        self._acceptance = config_from_mapping(AcceptanceConfig, job.recipe.acceptance or {})
        self._parent = read_model(job.parent)
        if parallel.is_main():
            try:
                (job.out / 'steps').mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TrainingError(
                    f'cannot make the folder {job.out}: {error.strerror}; give another --out'
                ) from error
        views, self._judges = open_data(
            job.origin, job.recipe, self._parent, job.cache, stopped=stopped,
            progress=lambda stage, done, total: self._tell(0, stage, done, total))
        self._compressor = Compressor(
            Student.of_model(self._parent), views, job.recipe,
            parent_id=self._parent.descriptor_id, folder=job.out, progress=self._tell,
            stopped=stopped)
        #: Steps done -> the network as it was measured then; 0 is the parent.
        self._rows: dict[int, StepRow] = {}
        self._rows_path = job.out / 'rows.json'
        self._first: MeasuredModel | None = None
        self._last: MeasuredModel | None = None
        if self._compressor.resume():
            self._rows = self._stored_rows()
            parallel.tell(f'resuming in {job.out}: {self._compressor.done} of '
                          f'{len(job.recipe.steps)} steps done')

    def run(self) -> bool:
        """
        Do all steps that are left, measure, judge and write.

        :returns: whether the result was accepted; True in all processes but the main one
        :raises StoppedError: when asked to stop; everything needed to go on is saved
        """
        self._measure(0)
        while True:
            done, count = self._compressor.done, len(self._recipe.steps)
            # A row is missing, too, if it was killed or stopped between the step and its row.
            if done == count or (self._recipe.measure_steps and done not in self._rows):
                self._measure(done)
            if done == count:
                break
            self._compressor.run_step()
        return not parallel.is_main() or self._finish()

    def _measure(self, number: int) -> None:
        """Measure the network after ``number`` steps in a process of its own, and keep the row."""
        if not parallel.is_main():
            return
        name, options, seconds, path = PARENT, '', 0.0, self._job.parent
        if number:
            record = self._compressor.records[number - 1]
            name, seconds = record.name, record.seconds
            options = options_of(self._recipe.steps[number - 1])
            path = self._out / 'steps' / f'{number}_{name}.vpr'
            write_model(path, self._compressor.student.model(), overwrite=True)
        measured = measure_row(
            path, self._judges.sets, self._judges.stretch, parent=self._first,
            threads=self._job.threads, cancelled=self._stopped,
            progress=lambda done, total: self._display.progress(
                max(0, number - 1), 'measuring', done, total))
        self._first = self._first or measured
        self._last = measured
        self._rows[number] = measured.row(
            step=name, options=options, parent_bytes=4 * self._parent.spec.parameters(),
            seconds=seconds)
        self._display.row(self._rows[number])
        try:
            write_whole(self._rows_path, json.dumps(
                {at: row.to_json() for at, row in self._rows.items()}, indent=1).encode())
        except OSError as error:
            raise TrainingError(
                f'cannot write {self._rows_path}: {error.strerror}; free space there, then give '
                'the same command again') from error

    def _stored_rows(self) -> dict[int, StepRow]:
        """Return the rows that were measured before a restart."""
        if not self._rows_path.exists():
            return {}
        try:
            stored = json.loads(self._rows_path.read_text(encoding='utf-8'))
            return {int(at): StepRow.from_json(row) for at, row in stored.items()
                    if int(at) <= self._compressor.done}
        except (OSError, ValueError, AttributeError, VprError) as error:
            raise TrainingError(
                f'cannot read {self._rows_path} ({error}); remove it: the report will lack the '
                'rows of the steps that are done') from error

    def _finish(self) -> bool:
        """Judge the last network, write it if it is good enough, and the report; tell of it."""
        first, last = self._first, self._last
        if first is None or last is None:
            raise AssertionError('nothing was measured')
        verdict = judge(first.scores, last.scores, self._acceptance) if self._judges.sets else (
            judge_agreement(last.agreement_with(first), self._acceptance))
        model = None
        if verdict.accepted:
            model = self._out / 'model.vpr'
            write_model(model, self._final(last), overwrite=True)
        else:
            (self._out / 'model.vpr').unlink(missing_ok=True)
        report = write_report(
            self._out, [row for _, row in sorted(self._rows.items())], verdict,
            self._context(model))
        self._display.close()
        self._display.finish(verdict, model, report)
        return verdict.accepted

    def _final(self, last: MeasuredModel) -> Model:
        """Return the compressed model with calibration, provenance and reference descriptors."""
        student = self._compressor.student.model()
        engine = ENGINES.load(student, threads=self._job.threads)
        return replace(
            # The evidence of a decision is relative to the map, so the parent's curve holds.
            student, calibration=self._parent.calibration,
            reference=describe_reference(engine, student.preprocessing).astype(np.float16),
            provenance={
                'made_by': f'vpr_compressed {__version__} compress', 'recipe': self._job.name,
                'seed': self._recipe.seed,
                'steps': [describe_step(step) for step in self._recipe.steps],
                'parent_descriptor_id': self._parent.descriptor_id,
                'parent_parameters': self._parent.spec.parameters(),
                'parent': dict(self._parent.provenance),
                'validation_recall_at_1': {
                    name: scores.recall[1] for name, scores in last.scores.items()}})

    def _context(self, model: Path | None) -> ReportContext:
        """Return what the report needs to be repeated."""
        sensitivity = [
            SensitivityRow(name=str(name), level=float(level), score=float(score))
            for record in self._compressor.records
            for name, level, score in record.notes.get('sensitivity', [])]
        return ReportContext(
            title=self._job.name, command=self._job.command, data=self._job.origin.describe(),
            settings={**json.loads(json.dumps(asdict(self._recipe), default=str)),
                      'acceptance': asdict(self._acceptance), 'threads': self._job.threads},
            parent=self._job.parent, model=model, sensitivity=tuple(sensitivity))

    def _tell(self, number: int, stage: str, done: int, total: int) -> None:
        """Pass on progress in the main process."""
        if parallel.is_main():
            self._display.progress(number, stage, done, total)
