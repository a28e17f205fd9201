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
Milliseconds, memory and bytes of compressed networks against the float engines, in turns.

Three groups: VGG16-NetVLAD with made-up weights (no published ones are at hand; time and memory
do not depend on their values) at 640x480, and the packaged model with its float parent at its
own input size and at 640x480. In a group all entrants describe the same image in turns, so a
busy machine slows all of them alike: read the ratios. Writes ``docs/runtime.md`` and a picture
after every race; a race that is finished is not run again.

    python -m benchmarks.runtime --parent out/train/model_fp32.vpr
"""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
import json
from pathlib import Path
import shlex
import sys
import tempfile
from typing import Any
from typing import NamedTuple

from matplotlib.ticker import FuncFormatter
import numpy as np

from vpr_compressed.model_file.model import default_model_path
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.measuring.race import Entrant
from vpr_compressed.offline.measuring.race import Finisher
from vpr_compressed.offline.measuring.race import race
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.offline.network.engines import TORCH
from vpr_compressed.offline.reports.figures import finish
from vpr_compressed.offline.reports.figures import new_axes
from vpr_compressed.offline.reports.figures import RIGHT
from vpr_compressed.offline.reports.figures import WITHHELD
from vpr_compressed.runtime.engines import ENGINES

ROOT = Path(__file__).resolve().parents[1]
FLOAT_ENGINES = (TORCH, *ENGINES.names)
PROPER = {'onnxruntime': 'ONNX Runtime', 'openvino': 'OpenVINO', 'opencv': 'OpenCV'}
LARGE = PreprocessingSpec(width=640, height=480)


class Network(NamedTuple):
    """
    A model that takes part.

    :param name: for the table; what stands before a comma names the float network it is
        compared with by cosine
    :param engines: that run it
    """

    name: str
    path: Path
    engines: tuple[str, ...]


class Group(NamedTuple):
    """
    Networks that race together; the first, on torch, is what all others are compared with.

    :param make: writes their model files into a folder
    """

    title: str
    make: Callable[[Path], list[Network]]


#: What is known of a race: group, threads and a row per entrant.
Found = dict[str, Any]


def main() -> int:
    """Make the networks, let them race, write the page and the picture."""
    args = parse_arguments()
    known: list[Found] = []
    if args.json.exists() and not args.again:
        known = json.loads(args.json.read_text(encoding='utf-8'))
    for group in groups(args):
        missing = [threads for threads in args.threads if not any(
            (one['group'], one['threads']) == (group.title, threads) for one in known)]
        if missing:
            with tempfile.TemporaryDirectory(prefix='vpr_runtime_', dir=args.scratch) as folder:
                networks = group.make(Path(folder))
                for threads in missing:
                    known.append(run(group.title, networks, threads, args.rounds))
                    write(known, args)
    write(known, args)
    print(f'wrote {args.page} and {args.picture}')
    return 0


def run(title: str, networks: list[Network], threads: int, rounds: int) -> Found:
    """Let the networks race and print their table."""
    installed = ALL_ENGINES.installed()
    runners = [
        Entrant(name=network.name, model=network.path, engine=engine, threads=threads)
        for network in networks for engine in network.engines if engine in installed]
    print(f'{title}, {threads} threads: {len(runners)} entrants', flush=True)
    results = race(runners, rounds=rounds)
    found: Found = {'group': title, 'threads': threads, 'rounds': rounds, 'rows': [
        {**one.to_json(), 'cosine': cosine_of(one, results)} for one in results]}
    print('\n'.join(as_table(found['rows'])), flush=True)
    return found


def cosine_of(one: Finisher, results: Sequence[Finisher]) -> float | None:
    """Return the lowest cosine to the float form of the same network, None if there is none."""
    same = [other for other in results if not other.error
            and other.entrant.name == one.entrant.name.partition(',')[0]]
    return one.cosine_to(same[0]) if same and not one.error else None


def write(known: list[Found], args: Namespace) -> None:
    """Write what is known so far: numbers, page and picture."""
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(known, indent=1), encoding='utf-8')
    args.page.write_text(as_markdown(known), encoding='utf-8')
    args.picture.write_bytes(as_picture(known))


def parse_arguments() -> Namespace:
    """Return the command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--parent', type=Path, help='float parent of the packaged model, '
                        'model_fp32.vpr of "vpr_compressed train" (default: no parent)')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2],
                        help='default: %(default)s')
    parser.add_argument('--rounds', type=int, default=9, help='images each entrant describes '
                        '(default: %(default)s)')
    parser.add_argument('--only', choices=('vgg16', 'packaged'), help='leave the others out')
    parser.add_argument('--scratch', type=Path, help='folder for a gigabyte of model files')
    parser.add_argument('--json', type=Path, default=Path('out/runtime.json'),
                        help='numbers of the races; those in it are not run again '
                             '(default: %(default)s)')
    parser.add_argument('--again', action='store_true', help='run all races again')
    parser.add_argument('--page', type=Path, default=ROOT / 'docs' / 'runtime.md')
    parser.add_argument('--picture', type=Path, default=ROOT / 'docs' / 'images' / 'runtime.png')
    return parser.parse_args()


def groups(args: Namespace) -> Iterator[Group]:
    """Yield the groups."""
    if args.only != 'packaged':
        yield Group('VGG16-NetVLAD at 640x480', vgg16)
    if args.only != 'vgg16':
        own = read_model(default_model_path()).preprocessing
        for size in (own, LARGE):
            yield Group(f'MobileNetV2-NetVLAD at {size.width}x{size.height}',
                        partial(packaged, parent=args.parent, size=size))


def vgg16(folder: Path) -> list[Network]:
    """Return VGG16-NetVLAD: whole and with half the channels, float and int8."""
    from benchmarks.vgg16 import calibrate
    from benchmarks.vgg16 import compress
    from benchmarks.vgg16 import make_images
    from benchmarks.vgg16 import make_weights

    from vpr_compressed.model_file.spec import NetworkSpec
    from vpr_compressed.offline.compression import pruning_plan
    from vpr_compressed.offline.compression import structure
    from vpr_compressed.offline.network.backbones import build_trunk

    images = make_images(Namespace(seed=0, width=LARGE.width, height=LARGE.height))
    networks: list[Network] = []

    def add(name: str, model: Model, *, integers: bool) -> None:
        path = folder / f'{name.replace(" ", "_")}.vpr'
        write_model(path, model)
        engines = FLOAT_ENGINES if not integers else tuple(
            name for name in ENGINES.names if ENGINES.kind(name).integers)
        networks.append(Network(name, path, engines))

    for dimension, halved in ((4096, False), (512, False), (512, True)):
        spec = NetworkSpec(trunk='vgg16', layers=tuple(build_trunk('vgg16').layers), clusters=64,
                           dimension=dimension)
        weights = make_weights(spec, 0)
        name = f'VGG16 {dimension}-D'
        if halved:
            name = f'VGG16 half {dimension}-D'
            channels = structure.channel_groups(spec)
            scores = structure.importances(spec, weights, channels, 'l1')
            spec, weights = structure.remove_channels(
                spec, weights, pruning_plan.keep_per_layer(spec, scores, 0.5))
        model = Model(spec=spec, preprocessing=LARGE, tensors=weights)
        add(name, model, integers=False)
        if dimension == 512:
            small = dataclasses.replace(model, tensors=compress(weights, 0.5, 8))
            small = dataclasses.replace(small, activations=calibrate(small, images[:1]))
            add(f'{name}, int8', small, integers=True)
    return networks


def packaged(folder: Path, parent: Path | None, size: PreprocessingSpec) -> list[Network]:
    """Return the packaged models and their float parent at an input size."""
    networks = []
    for name, source in (('float parent', parent), ('default', find_model(Path('default'))),
                         ('small', find_model(Path('small')))):
        if source is not None:
            path = folder / f'{name.replace(" ", "_")}_{size.width}.vpr'
            write_model(path, dataclasses.replace(
                read_model(source), preprocessing=size, reference=None))
            networks.append(Network(name, path, FLOAT_ENGINES))
    return networks


def as_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of one Markdown table."""
    lines = [
        '| network | engine | weights, convolutions | ms p50 | p95 | against torch float | '
        'against best float | file MB | adds MB | peak MB | load s | cosine |',
        '|---|---|---|' + '--:|' * 9]
    whole = [row for row in rows if row['name'] == rows[0]['name'] and not row['error']]
    if not whole:
        return [*lines, '| all failed |' + ' |' * 11]
    torch = next((row for row in whole if row['engine'] == TORCH), whole[0])
    best = min(whole, key=lambda row: row['p50_ms'])
    for row in rows:
        if row['error']:
            lines.append(f'| {row["name"]} | | {row["error"]} |' + ' |' * 9)
            continue
        cosine = '' if row['cosine'] is None else f'{row["cosine"]:.4f}'
        lines.append(
            f'| {row["name"]} | {row["engine"]} | {row["precision"]}, '
            f'{"int8" if row["integers"] else "float32"} | {row["p50_ms"]:.1f} | '
            f'{row["p95_ms"]:.1f} | {torch["p50_ms"] / row["p50_ms"]:.1f}x | '
            f'{best["p50_ms"] / row["p50_ms"]:.1f}x | {row["file_bytes"] / 1e6:.1f} | '
            f'{row["resident_bytes"] / 1e6:.0f} | {row["peak_bytes"] / 1e6:.0f} | '
            f'{row["load_s"]:.2f} | {cosine} |')
    return lines


def as_markdown(known: Sequence[Found]) -> str:
    """Return the page."""
    lines = [
        '# Time and memory', '',
        'From a 640x480 image in memory to its descriptor, all entrants of a table in turns. '
        '"against" compares with the first network of', 'the table: on torch (eager), and on its '
        'fastest engine; OpenVINO computes in float32, not in the bfloat16 it would choose.',
        '"adds" is what library, model and first images add to a process that has NumPy and '
        'OpenCV, "peak" the most on the way. The cosine is the', 'lowest to the float form of '
        'the same network on four made-up images. VGG16 has made-up weights. Made by', '',
        f'    {shlex.join(["python", "-m", "benchmarks.runtime", "--parent", "model_fp32.vpr"])}',
        '', f'(with `--rounds` as the headings say) on {processor()}, {versions()}.', '',
        '![Milliseconds of all entrants](images/runtime.png)', '']
    for found in known:
        threads = found['threads']
        lines += [f'## {found["group"]}, {threads} thread{"s" if threads > 1 else ""}, '
                  f'{found["rounds"]} images each', '',
                  *as_table(found['rows']), '']
    return '\n'.join(lines)


def as_picture(known: Sequence[Found]) -> bytes:
    """Return bars of milliseconds: the runs with most threads."""
    most = max(found['threads'] for found in known)
    bars: list[tuple[str, float, bool]] = []
    for found in known:
        if found['threads'] == most:
            size = '' if 'VGG16' in found['group'] else f' {found["group"].rpartition(" ")[2]}'
            bars += [(f'{row["name"]}, {PROPER.get(row["engine"], row["engine"])}{size}',
                      row['p50_ms'], row['precision'] == 'int8')
                     for row in found['rows'] if not row['error']]
    _, axes = new_axes(1.4 + 0.24 * len(bars))
    places = np.arange(len(bars))[::-1]
    axes.barh(places, [ms for _, ms, _ in bars], height=0.7,
              color=[RIGHT if ours else WITHHELD for *_, ours in bars])
    for place, (_, ms, _) in zip(places, bars, strict=True):
        axes.text(ms * 1.05, place, f'{ms:.0f}' if ms >= 10 else f'{ms:.1f}', va='center',
                  fontsize=8)
    axes.set_xscale('log')
    axes.set_yticks(places, [name for name, *_ in bars], fontsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.set_xlim(right=2.2 * max(ms for _, ms, _ in bars))
    axes.set_ylim(-0.8, len(bars) - 0.2)
    axes.grid(visible=False, axis='y')
    axes.set_xlabel('milliseconds an image (median, logarithmic)')
    title = f'From image to descriptor, {most} thread{"s" if most > 1 else ""}'
    return finish('runtime.png', title, (
        'Blue are compressed networks, grey float ones. All entrants of one network and input '
        'size took turns, so compare within them. VGG16 has made-up weights.'),
        axes).png(caption=True)


def processor() -> str:
    """Return the name of the CPU."""
    text = Path('/proc/cpuinfo').read_text(encoding='ascii', errors='ignore')
    name = next((line.partition(':')[2].strip() for line in text.splitlines()
                 if line.startswith('model name')), 'an unknown CPU')
    extras = [flag.upper() for flag in ('avx512_vnni', 'avx512_bf16', 'avx_vnni') if flag in text]
    return ' '.join([name, *extras])


def versions() -> str:
    """Return the versions of the engines."""
    texts = []
    for name in ('onnxruntime', 'openvino', 'opencv-python-headless', 'torch'):
        try:
            texts.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            continue
    return ', '.join(texts)


if __name__ == '__main__':
    sys.exit(main())
