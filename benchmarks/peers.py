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
What a user would pick instead, and ours, on the same images in one run.

Thumbnails, a bag of ORB words, VLAD, GeM over ImageNet networks, the float parent of our models
and the packaged models: accuracy on three pairs of Gardens Point and on Corridor, milliseconds,
memory, and bytes per place. All methods see the same decoded images; what has to be fitted is
fitted to training images only. The times are taken in turns, one image each, with every method
in a process of its own. Writes ``docs/benchmarks.md`` and a picture.

    python -m benchmarks.peers --data DATA --parent out/train/model_fp32.vpr
    python -m benchmarks.peers --data DATA --quick                      one set, few images
    python -m benchmarks.peers --data DATA --only orb_bow default       some of them

DATA holds gardens_point, corridor, gsv_cambridge, ie_tower and weights. What was fitted and
described is kept in OUT and not computed again, so ctrl-C costs little: the same command goes
on. The times are always taken anew.
"""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import closing
from contextlib import ExitStack
import hashlib
import json
from pathlib import Path
import sys
import time
from typing import Any

from benchmarks import peer_features
from benchmarks import peer_methods
from benchmarks import peer_page
from benchmarks import peer_picture
from benchmarks import peer_registry
from benchmarks import peer_words
from benchmarks.peer_methods import Materials
from benchmarks.peer_methods import Method
from benchmarks.peer_registry import METHODS
from benchmarks.peer_scores import bytes_per_place
from benchmarks.peer_scores import rounded_bytes
from benchmarks.peer_scores import score
from benchmarks.peer_worker import Job
from benchmarks.peer_worker import read_image
from benchmarks.spread import PAIRS
import cv2
import numpy as np

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.ground_truth import from_file
from vpr_compressed.offline.accuracy.ground_truth import from_tolerance
from vpr_compressed.offline.measuring.observation import code_digest
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.runtime.engines import DEFAULT
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.system import terminal
from vpr_compressed.system.machine import versions
from vpr_compressed.system.processes import Worker

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / 'config' / 'recipes' / 'train_default.yaml'
#: Walk whose images are timed, and the walk whose places, repeated, are searched.
CAMERA, SITE = 'gardens_point/day_right', 'gardens_point/day_left'
_CAMERA_IMAGES, _WARM_UP = 8, 2
#: Seconds between two turns, so that threads of the last one have gone to sleep.
_REST_S = 0.01
_QUICK = {'fit_images': 120, 'walk_images': 50, 'rounds': 4, 'places': 500}
#: A change of these makes what is in the cache worthless.
_SOURCES = (peer_features, peer_words, peer_methods, peer_registry)


def main() -> int:
    """Prepare, score and time all methods, then write page and picture."""
    args = parse_arguments()
    try:
        return run(args)
    except VprError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'\nstopped; what is finished is in {args.out}, the same command goes on',
              file=sys.stderr)
        return 130


def run(args: Namespace) -> int:
    """
    Do what the command line says.

    :raises VprError: if data is missing or a method cannot run
    """
    jobs = make_jobs(args)
    for number, job in enumerate(jobs, start=1):
        prepare(job, args.out, f'{number}/{len(jobs)}')
    found: dict[str, Any] = {
        'places': args.places, 'rounds': args.rounds, 'threads': args.threads,
        'engine': args.engine, 'fit_images': len(jobs[0].fit_images), 'quick': args.quick,
        'busy': args.busy, 'data': args.data.name,
        'camera': 'x'.join(map(str, read_image(jobs[0].camera[0]).shape[1::-1])),
        'methods': [scores_of(job, args) for job in jobs]}
    if args.rounds:
        for method, cost in zip(found['methods'], race(jobs, args), strict=True):
            method['cost'] = cost
    text = json.dumps(found, indent=1)
    found = json.loads(text)  # so that a page made from the file later is the same
    args.json.write_text(text, encoding='utf-8')
    args.page.write_text(peer_page.as_markdown(found), encoding='utf-8')
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    args.picture.write_bytes(peer_picture.as_picture(found))
    print('\n'.join(peer_page.accuracy_table(found)))
    print(f'wrote {args.json}, {args.page} and {args.picture}')
    return 0


def parse_arguments(words: Sequence[str] | None = None) -> Namespace:
    """Return the command line, with what depends on other options filled in."""
    names = '\n'.join(f'  {key:20} {method.summary}' for key, method in METHODS.items())
    parser = ArgumentParser(
        prog='python -m benchmarks.peers', description=__doc__,
        formatter_class=RawDescriptionHelpFormatter, epilog=f'methods for --only:\n{names}')
    parser.add_argument('--data', type=Path, required=True, help='folder with the image sets')
    parser.add_argument('--parent', type=Path, help='float NetVLAD, model_fp32.vpr of '
                        '"vpr_compressed train" (default: it does not take part)')
    parser.add_argument('--out', type=Path, default=ROOT / 'out' / 'peers',
                        help='cache and results (default: out/peers)')
    parser.add_argument('--only', nargs='+', metavar='METHOD', choices=METHODS,
                        help='leave the others out; a method that projects another brings it')
    parser.add_argument('--fit-images', type=int, default=1000, metavar='N', help='training '
                        'images vocabularies and projections see (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=40, metavar='N',
                        help='images each method is timed with, 0 for none (default: '
                             '%(default)s)')
    parser.add_argument('--places', type=int, default=10_000, metavar='N',
                        help='in the map that is searched (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=2, help='of each method (default: '
                        '%(default)s)')
    parser.add_argument('--engine', default=DEFAULT,
                        help='that runs the packaged models (default: %(default)s)')
    parser.add_argument('--busy', action='store_true',
                        help='have the page say that the machine had other work')
    parser.add_argument('--quick', action='store_true',
                        help='a trial: one set, few images; the page goes to OUT')
    parser.add_argument('--page', type=Path, help='default: docs/benchmarks.md')
    parser.add_argument('--picture', type=Path, help='default: docs/images/peers.png')
    args = parser.parse_args(words)
    docs = args.out if args.quick or args.only else ROOT / 'docs'
    args.json = args.out / ('quick.json' if args.quick else 'peers.json')
    args.page = args.page or docs / 'benchmarks.md'
    args.picture = args.picture or docs / 'images' / 'peers.png'
    args.walk_images = None
    if args.quick:
        vars(args).update(_QUICK)
    return args


def make_jobs(args: Namespace) -> list[Job]:
    """
    Return what each method has to do, those that others project before them.

    :raises VprError: if images, models or weights are missing
    """
    ALL_ENGINES.check(args.engine)
    wanted = set(args.only or METHODS)
    if args.parent is None and not args.only:
        wanted.discard('netvlad_float')
    wanted |= {METHODS[key].base for key in wanted if METHODS[key].base}
    materials = Materials(weights=args.data / 'weights', parent=args.parent, engine=args.engine,
                          threads=args.threads)
    walks = {name: tuple(map(str, image_files(args.data / name)[:args.walk_images]))
             for pair in pairs(args) for name in pair[1:3]}
    camera = walks[CAMERA][::max(1, len(walks[CAMERA]) // _CAMERA_IMAGES)][:_CAMERA_IMAGES]
    fit_images = training_images(args)
    walk_images = [path for paths in walks.values() for path in paths]
    jobs: dict[str, Job] = {}
    for method in METHODS.values():
        if method.key in wanted:
            mark = fingerprint(method, materials, fit_images, walk_images)
            jobs[method.key] = Job(
                key=method.key, folder=str(args.out / 'cache' / f'{method.key}_{mark}'),
                base=jobs[method.base].folder if method.base else '',
                weights=str(materials.weights), parent=str(args.parent or ''),
                engine=args.engine, threads=args.threads, fit_images=fit_images,
                walks={file_name(walk): paths for walk, paths in walks.items()}, camera=camera,
                places=args.places, walk=file_name(SITE))
    return list(jobs.values())


def pairs(args: Namespace) -> list[tuple[str, str, str, int | str]]:
    """Return name, reference, query and right answers of the sets that are measured."""
    return list(PAIRS[:1] if args.quick else PAIRS)


def file_name(walk: str) -> str:
    """Return the name of a walk as files have it."""
    return walk.replace('/', '_')


def training_images(args: Namespace) -> tuple[str, ...]:
    """Return a random choice of the images our models were trained on."""
    from vpr_compressed.offline.training.labels import load_training_set
    from vpr_compressed.offline.training.train_config import load_train_config

    paths = load_training_set(args.data, load_train_config(RECIPE).data).paths
    chosen = np.random.default_rng(0).permutation(len(paths))[:args.fit_images]
    return tuple(str(paths[index]) for index in np.sort(chosen))


def fingerprint(
    method: Method, materials: Materials, fit_images: Sequence[str], walk_images: Sequence[str]
) -> str:
    """
    Return a name for everything the descriptors of a method depend on.

    :raises VprError: if a file of the method is missing
    """
    parts = [method.key, materials.engine, cv2.__version__, code_digest()]
    parts += [f'{name} {version}' for name, version in versions().items()]
    parts += [Path(str(source.__file__)).read_text(encoding='utf-8') for source in _SOURCES]
    digest = hashlib.sha256('\n'.join(parts).encode())
    needed = fit_images if method.fit is not None or method.base else ()
    for path in [*needed, *walk_images, *method.files(materials)]:
        try:
            digest.update(Path(path).read_bytes())
        except OSError as error:
            raise VprError(
                f'{method.name} needs {path}: {error.strerror}; give --data a folder with '
                'weights/ and --parent a model, or name other methods with --only') from error
    return digest.hexdigest()[:12]


def start(job: Job, task: str, out: Path) -> Worker:
    """Return the process of a job, ready or not."""
    folder = out / 'jobs'
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{job.key}.json'
    path.write_text(job.to_json(), encoding='utf-8')
    return Worker('benchmarks.peer_worker', [str(path), task], name=job.method.name,
                  log=folder / f'{job.key}_{task}.log')


def prepare(job: Job, out: Path, place: str) -> None:
    """
    Fit and describe with one method in a process of its own.

    :param place: which of how many it is, for the progress bar
    :raises VprError: if that fails
    """
    folder = Path(job.folder)
    if all((folder / name).exists() for name in (
            'fitted.npz', *(f'{walk}.npy' for walk in job.walks))):
        return
    with closing(start(job, 'prepare', out)) as worker, terminal.bar(
            f'{place} {job.method.name}', unit='image') as bar:
        def progress(done: int, total: int) -> None:
            if total != bar.total or done < bar.n:
                bar.reset(total=total)
            bar.update(done - bar.n)

        worker.result(progress=progress)


def scores_of(job: Job, args: Namespace) -> dict[str, Any]:
    """Return what is known of a method, and how it did on each pair."""
    method = job.method
    rows = {walk: np.load(Path(job.folder) / f'{walk}.npy') for walk in job.walks}
    sets = {}
    for name, reference, query, right in pairs(args):
        places, queries = rows[file_name(reference)], rows[file_name(query)]
        truth = from_tolerance(len(queries), len(places), right) if isinstance(
            right, int) else from_file(args.data / right, len(queries), len(places))
        sets[name] = score(method, places, queries, truth).to_json()
    site = rows[file_name(SITE)]
    return {
        'key': method.key, 'name': method.name, 'summary': method.summary,
        'training': method.training, 'ours': method.ours, 'dimension': site.shape[1],
        'bytes_per_place': bytes_per_place(method, site),
        'rounded_bytes': rounded_bytes(method, site), 'sets': sets}


def race(jobs: Sequence[Job], args: Namespace) -> list[dict[str, Any]]:
    """
    Time all methods in turns.

    :returns: for each job its milliseconds and its memory
    :raises VprError: if one cannot run
    """
    with ExitStack() as stack:
        lanes: list[Worker] = []
        facts = []
        for job in terminal.bar('loading', iterable=jobs, unit='method'):
            lanes.append(start(job, 'race', args.out))
            stack.callback(lanes[-1].close)
            facts.append(lanes[-1].result())
        times: list[list[dict[str, float]]] = [[] for _ in jobs]
        for number in terminal.bar(
                'racing', iterable=range(args.rounds + _WARM_UP), unit='round'):
            # Whoever comes after a slow one has cold caches; so each time another is first.
            order = np.roll(np.arange(len(lanes)), -number)
            for index in order.tolist():
                time.sleep(_REST_S)
                found = lanes[index].ask(number)
                if number >= _WARM_UP:
                    times[index].append(found)
        return [{**known, **{
            f'{name}_p{level}': float(np.percentile([one[name] for one in taken], level))
            for name in ('describe_ms', 'search_ms') for level in (50, 95)}}
            for known, taken in zip(facts, times, strict=True)]


if __name__ == '__main__':
    sys.exit(main())
