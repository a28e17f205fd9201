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

"""What the ``calibrate`` verb does: describe, walk, fit, draw and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ModelFileError
from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.offline.accuracy.decisions import Reliability
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.accuracy.metrics import AcceptedMatches
from vpr_compressed.offline.calibration import fit
from vpr_compressed.offline.calibration import own_site
from vpr_compressed.offline.calibration.describing import Described
from vpr_compressed.offline.calibration.describing import Describer
from vpr_compressed.offline.calibration.describing import route_of
from vpr_compressed.offline.calibration.describing import Wanted
from vpr_compressed.offline.calibration.evidence import Judged
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.offline.calibration.evidence import observe
from vpr_compressed.offline.calibration.labelling import Plan
from vpr_compressed.offline.calibration.outcome import precision_recall_of
from vpr_compressed.offline.calibration.outcome import reliability_of
from vpr_compressed.offline.calibration.outcome import trade_at
from vpr_compressed.offline.calibration.recipe import load_recipe
from vpr_compressed.offline.calibration.samples import missing
from vpr_compressed.offline.calibration.samples import Samples
from vpr_compressed.offline.calibration.samples import samples_of
from vpr_compressed.offline.reports.decision_plots import DecisionLine
from vpr_compressed.offline.reports.decision_plots import precision_recall_plot
from vpr_compressed.offline.reports.decision_plots import reliability_plot
from vpr_compressed.offline.reports.page import check_jinja2
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.files import write_whole
from vpr_compressed.system.terminal import progress

#: What labels that are guesses themselves let the earlier curve count, relative to true ones.
_GUESSED = 2.0
#: Names of the two curves for people.
ON_A_WALK, FROM_ONE_IMAGE = 'on a walk', 'from one image'


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """
    One of the curves of a model after the fit.

    :param note: why it was kept as it was, '' if it was fitted
    :param samples: what it was fitted to, None if it was kept
    :param held_out: confidences from fits without the group of the image, None for too few groups
    """

    name: str
    curve: ConfidenceCurve
    note: str = ''
    samples: Samples | None = None
    held_out: NDArray[np.float64] | None = None

    @property
    def reliability(self) -> Reliability:
        """Return whether its confidences hold, in kinds of place it had not seen if possible."""
        assert self.samples is not None  # noqa: S101 a curve that was kept is not judged
        sure = self.samples.confidences(self.curve) if self.held_out is None else self.held_out
        return reliability_of(self.samples, sure)


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """
    What a calibration came to.

    :param images: that were judged
    :param groups: kinds of place
    :param written: the model and the pictures
    """

    curves: tuple[Fitted, ...]
    images: int
    groups: tuple[str, ...]
    written: tuple[Path, ...]


class Calibration:
    """
    One calibration of one model.

    :param out: model file to write; the pictures lie beside it
    :param cache: folder that keeps descriptors for the next time, None for none
    :raises ModelFileError: a file would be overwritten
    """

    def __init__(
        self, extractor: Extractor, out: Path, *, overwrite: bool = False,
        cache: Path | None = None
    ) -> None:
        fit.check_scipy()
        check_jinja2()
        self._extractor, self._out, self._overwrite = extractor, out, overwrite
        self._pictures = tuple(out.with_name(f'{out.stem}_{name}.png')
                               for name in ('reliability', 'precision_recall'))
        there = [str(path) for path in (out, *self._pictures) if path.exists()]
        if there and not overwrite:
            found = 'exists already; replace it' if len(there) == 1 else (
                'exist already; replace them')
            raise ModelFileError(
                f'{", ".join(there)} {found} with --overwrite, or choose another --out')
        if out.suffix != '.vpr':
            raise ConfigError(f'--out is {out}; model files end in .vpr')
        self._describer = Describer(extractor, cache)

    def by_recipe(self, path: Path, data: Path) -> Calibrated:
        """
        Fit to the labelled walks of a recipe.

        :param data: folder its paths are relative to
        :raises VprError: images or labels are missing, or too few
        """
        recipe = load_recipe(path)
        plan = Plan(recipe, data)
        wanted = plan.wanted()
        with progress(sum(map(len, wanted.values())), 'describing') as bar:
            images = {site: self._describer.describe(plan.sites[site].source, each, bar.update)
                      for site, each in wanted.items()}
        return self._finish(self._observed(list(plan.labelled(images))), f'recipe {recipe.name}')

    def by_two_recordings(
        self, reference: ImageSource, query: ImageSource, truth: GroundTruth,
        others: Sequence[ImageSource] = ()
    ) -> Calibrated:
        """
        Fit to a site that was mapped and walked again.

        :param others: recordings of places that are not in the reference
        :raises VprError: too few images
        """
        mapped, asked, *more = self._recordings([reference, query, *others])
        walks = [*own_site.between(mapped, asked, truth),
                 *(own_site.unknown(mapped, other) for other in more)]
        return self._finish(self._observed(walks), f'{asked.name} in {mapped.name}')

    def by_one_recording(
        self, source: ImageSource, radius_m: float | None, others: Sequence[ImageSource] = ()
    ) -> Calibrated:
        """
        Fit to a recording that comes back to its places.

        :param radius_m: positions within it are the same place; None: the recording itself must
            say which places it comes back to
        :param others: recordings of places that are not on it
        :raises VprError: too few images come back
        """
        recording, *more = self._recordings([source, *others])
        if radius_m is not None:
            walks = own_site.with_positions(recording, radius_m)
        else:
            (first,) = self._observed([own_site.first_pass(recording)])
            walks = own_site.by_itself(recording, first, self._extractor.calibration.walk)
        walks += [own_site.unknown(recording, other) for other in more]
        return self._finish(self._observed(walks), recording.name)

    def _recordings(self, sources: Sequence[ImageSource]) -> list[own_site.Recording]:
        """Describe whole recordings."""
        found = []
        with progress(sum(map(len, sources)), 'describing') as bar:
            for source in sources:
                wanted = [Wanted(index) for index in range(len(source))]
                images = self._describer.describe(source, wanted, bar.update)
                found.append(own_site.Recording(
                    name=source.path.name, route=route_of(images, wanted),
                    positions_m=_positions(images, wanted)))
        return found

    def _observed(self, walks: Sequence[LabelledWalk]) -> list[Judged]:
        """Return what the decision says on walks."""
        with progress(sum(len(walk.asked) for walk in walks), 'deciding') as bar:
            return list(observe(walks, self._extractor, tick=bar.update))

    def _finish(self, judged: Sequence[Judged], source: str) -> Calibrated:
        """Fit both curves, draw them and write the model."""
        before = self._extractor.calibration
        walk = _fitted(ON_A_WALK, 'walk', judged, before.walk)
        single = _fitted(FROM_ONE_IMAGE, 'single', judged, before.single)
        fitted = [each for each in (walk, single) if each.samples is not None]
        if not fitted:
            raise VprError(
                f'nothing is written: {walk.name} {walk.note}; {single.name} {single.note}')
        images = sum(len(each.samples) for each in fitted if each.samples is not None)
        groups = tuple(sorted({group for each in fitted if each.samples is not None
                               for group in each.samples.groups}))
        written = self._write(
            replace(
                before, walk=walk.curve, single=single.curve,
                fitted_on=f'{source} ({", ".join(groups)}; {images} images)'), fitted)
        return Calibrated(
            curves=(walk, single), images=images, groups=groups, written=written)

    def _write(
        self, calibration: DecisionCalibration, fitted: Sequence[Fitted]
    ) -> tuple[Path, ...]:
        """Write model and pictures, which are drawn before anything is written."""
        pictures = [plot.png(caption=True) for plot in (
            reliability_plot([
                (each.name if each.held_out is None else f'{each.name}, held out',
                 each.reliability) for each in fitted]),
            precision_recall_plot([_line(each) for each in fitted]))]
        model = replace(read_model(self._extractor.model_path), calibration=calibration)
        write_model(self._out, model, overwrite=self._overwrite)
        try:
            for path, picture in zip(self._pictures, pictures):
                write_whole(path, picture, overwrite=self._overwrite)
        except OSError as error:
            raise VprError(f'{self._out} is written, but not {error.filename}: {error.strerror}'
                           ) from error
        return self._out, *self._pictures


def _fitted(
    name: str, basis: str, judged: Sequence[Judged], before: ConfidenceCurve
) -> Fitted:
    """Fit the curve of a name, or keep it where there is too little."""
    samples = samples_of(judged, basis, before.evidence)
    if samples is None:
        return Fitted(name=name, curve=before, note='no image was decided by it')
    if lacking := missing(samples):
        return Fitted(name=name, curve=before,
                      note=f'there is too little to fit it to: {"; ".join(lacking)}')
    doubtful = any(each.walk.doubtful for each in judged)
    return Fitted(
        name=name, samples=samples, held_out=fit.held_out(samples, before),
        curve=fit.fit_curve(samples, before, prior_images=fit.PRIOR_IMAGES * (
            _GUESSED if doubtful else 1.0)))


def _line(fitted: Fitted) -> DecisionLine:
    """Return a curve for its picture; the diamond is where a node without parameters works."""
    samples, curve = fitted.samples, fitted.curve
    assert samples is not None  # noqa: S101 a curve that was kept is not drawn
    price = trade_at(samples, curve, DecisionConfig().min_precision)
    accepted = samples.confidences(curve) >= price.threshold
    return DecisionLine(
        label=fitted.name, decision=precision_recall_of(samples, curve), image=None,
        accepted=AcceptedMatches(
            accepted=int(accepted.sum()), correct=int((accepted & samples.right).sum()),
            precision=price.precision, recall=price.recall),
        precision_interval=price.interval, recall_interval=None,
        thresholds=dict(zip(curve.precisions, curve.thresholds)))


def _positions(
    images: dict[Wanted, Described], wanted: Sequence[Wanted]
) -> NDArray[np.float64] | None:
    """Return where images were taken, ``(N, 3)``, None if that is not known of all."""
    poses = [images[each].pose for each in wanted]
    found = [pose.position_m for pose in poses if pose is not None]
    return np.array(found) if len(found) == len(poses) else None
