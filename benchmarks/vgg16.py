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
Measure whether VGG16-NetVLAD, the largest network we know, shrinks and runs as promised.

No published weights are at hand, so weights are made up: He normal for the convolutions,
Laplace for the projection, as trained whitening matrices look. Accuracy cannot be told from
them; sizes, equality of pruned and masked network, file bytes against the entropy bound, int8
against float engines, time and memory can. Each model is timed in a process of its own.
Run from the repository root: ``python -m benchmarks.vgg16``; 4096-D needs several GB of memory
and 0.8 GB in the scratch folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import dataclasses
import gc
import json
import math
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vpr_compressed.model_file.model import Model
    from vpr_compressed.model_file.spec import NetworkSpec
    from vpr_compressed.model_file.tensors import Tensor

# The process that measures time and memory must not load torch, so packages that do are
# imported in the functions that use them.
CLUSTERS = 64
SPARSITIES = (0.5, 0.85)
BITS = (8, 5)
Row = dict[str, Any]
Weights = dict[str, NDArray[np.float32]]


def main() -> None:
    """Run all measurements of all descriptor sizes and print a table for each."""
    args = parse_arguments()
    if args.measure is not None:
        print(json.dumps(measure(args.measure, args.repeats, args.threads)))
        return
    rows = []
    for dimension in args.dimensions:
        with tempfile.TemporaryDirectory(prefix='vpr_vgg16_', dir=args.scratch) as folder:
            rows += run(dimension, Path(folder), args)
    if args.json is not None:
        args.json.write_text(json.dumps({'arguments': {
            name: str(value) for name, value in vars(args).items()}, 'rows': rows}, indent=1))


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dimensions', type=int, nargs='+', default=[512, 4096],
                        help='descriptor sizes, default %(default)s')
    parser.add_argument('--width', type=int, default=640, help='pixels, default %(default)s')
    parser.add_argument('--height', type=int, default=480, help='pixels, default %(default)s')
    parser.add_argument('--repeats', type=int, default=5,
                        help='timed images per model, default %(default)s')
    parser.add_argument('--threads', type=int, default=0,
                        help='threads of the engine, default 0: all cores')
    parser.add_argument('--scratch', type=Path, help='folder for the model files')
    parser.add_argument('--json', type=Path, help='write the rows to this file, too')
    parser.add_argument('--seed', type=int, default=0, help='default %(default)s')
    parser.add_argument('--measure', type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def run(dimension: int, folder: Path, args: argparse.Namespace) -> list[Row]:
    """Measure one descriptor size; every row is printed as soon as it is there."""
    from vpr_compressed.model_file.model import Model
    from vpr_compressed.model_file.model import write_model
    from vpr_compressed.model_file.spec import NetworkSpec
    from vpr_compressed.model_file.spec import PreprocessingSpec
    from vpr_compressed.offline.network.backbones import build_trunk

    spec = NetworkSpec(trunk='vgg16', layers=tuple(build_trunk('vgg16').layers),
                       clusters=CLUSTERS, dimension=dimension)
    weights = make_weights(spec, args.seed)
    images = make_images(args)
    parent_bytes = 4 * spec.parameters()
    print(f'\nVGG16-NetVLAD {dimension}-D: {spec.parameters() / 1e6:.2f} M parameters, '
          f'{parent_bytes / 1e6:.1f} MB as fp32, input {args.width}x{args.height}', flush=True)
    rows = [check_pruning(spec, weights, images)]
    size = PreprocessingSpec(width=args.width, height=args.height)
    model = Model(spec=spec, preprocessing=size, tensors=weights)
    path = folder / 'fp32.vpr'
    write_model(path, model)
    rows.append(show({'model': 'fp32', 'file_bytes': path.stat().st_size, **child(path, args)}))
    path.unlink()
    for sparsity in SPARSITIES:
        for bits in BITS:
            stored = dataclasses.replace(model, tensors=compress(weights, sparsity, bits))
            path = folder / f'{sparsity:g}_{bits}.vpr'
            rows.append(show({
                'model': f'{100 * sparsity:g} % zeros, {bits} bit',
                **sizes(path, stored, parent_bytes)}))
    del weights, model
    rows.append(show({'model': 'last, int8 weights', **parity(stored, images),
                      **child(path, args)}))
    integer = dataclasses.replace(stored, activations=calibrate(stored, images))
    path = folder / 'activations.vpr'
    write_model(path, integer)
    rows.append(show({'model': 'last, int8 activations', 'file_bytes': path.stat().st_size,
                      **parity(integer, images), **child(path, args)}))
    return [{'dimension': dimension, 'parameters': spec.parameters()} | row for row in rows]


def make_weights(spec: NetworkSpec, seed: int) -> Weights:
    """Return He normal convolutions and a projection of Laplace weights, float32."""
    random = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in spec.tensor_shapes().items():
        if name == 'projection.weight':
            # numpy draws float64 only; by rows, the copy is small.
            rows = np.empty(shape, np.float32)
            for row in rows:
                row[:] = random.laplace(0.0, (0.5 / shape[1]) ** 0.5, shape[1])
            weights[name] = rows
        elif len(shape) == 1:
            weights[name] = random.normal(0.0, 0.01, shape).astype(np.float32)
        else:
            fan_in = math.prod(shape[1:])
            weights[name] = (2.0 / fan_in) ** 0.5 * random.standard_normal(shape, np.float32)
    centers = weights['netvlad.centers']
    centers /= 2.0 * np.linalg.norm(centers, axis=1, keepdims=True)
    weights['netvlad.assignment.weight'] = 20.0 * centers
    return weights


def make_images(args: argparse.Namespace) -> NDArray[np.float32]:
    """Return normalised images with coarse and fine structure, ``(4, 3, h, w)``."""
    random = np.random.default_rng(args.seed + 1)
    images = np.zeros((4, 3, args.height, args.width), np.float32)
    for block in (64, 16, 4, 1):
        grid = random.standard_normal(
            (4, 3, -(-args.height // block), -(-args.width // block)), np.float32)
        images += 0.5 * np.kron(grid, np.ones((block, block), np.float32))[
            :, :, :args.height, :args.width]
    return images


def check_pruning(spec: NetworkSpec, weights: Weights, images: NDArray[np.float32]) -> Row:
    """Halve every layer's channels and compare the small network with the masked one."""
    from vpr_compressed.model_file.spec import multiply_adds
    from vpr_compressed.offline.compression import pruning_plan
    from vpr_compressed.offline.compression import structure

    groups = structure.channel_groups(spec)
    scores = structure.importances(spec, weights, groups, 'l1')
    keep = pruning_plan.keep_per_layer(spec, scores, 0.5)
    height, width = images.shape[2:]
    smaller, pruned = structure.remove_channels(spec, weights, keep)
    small = torch_descriptors(smaller, pruned, images[:1])
    del pruned
    masked = torch_descriptors(spec, structure.mask_channels(spec, weights, keep), images[:1])
    cost, full = (sum(multiply_adds(one, width, height).values())
                  for one in (smaller, spec))
    return show({'model': 'half the channels', 'pruned_parameters': smaller.parameters(),
                 'multiply_adds_left': cost / full,
                 'pruned_against_masked': float(np.abs(small - masked).max())})


def torch_descriptors(
    spec: NetworkSpec, weights: Mapping[str, NDArray[np.float32]], images: NDArray[np.float32],
    activations: Mapping[str, Any] | None = None
) -> NDArray[np.float32]:
    """Return the descriptors of the torch network, ``(N, D)``."""
    import torch

    from vpr_compressed.offline.network.network import VprNetwork

    network = VprNetwork(spec).eval()
    network.load_tensors(weights)
    network.activations = dict(activations or {})
    with torch.inference_mode():
        return np.concatenate([network(torch.from_numpy(image[np.newaxis])).numpy()
                               for image in images])


def compress(weights: Weights, sparsity: float, bits: int) -> dict[str, Tensor]:
    """Zero the smallest weights of each tensor and share the others on the int8 grid."""
    import torch

    from vpr_compressed.offline.compression.codebook import fit_codebook
    from vpr_compressed.offline.compression.pruning_plan import smallest

    found: dict[str, Tensor] = {}
    for name, values in weights.items():
        if values.ndim == 1 or name.startswith('netvlad.'):
            found[name] = values.astype(np.float16)
        else:
            tensor = torch.from_numpy(values)
            found[name] = fit_codebook(tensor, bits, 'int8', smallest(tensor, sparsity)).stored()
        gc.collect()
    return found


def sizes(path: Path, model: Model, parent_bytes: int) -> Row:
    """Write a model and compare its bytes with the entropy of its symbols."""
    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.model_file.model import write_model
    from vpr_compressed.model_file.report import file_report

    started = time.process_time()
    write_model(path, model)
    write_cpu_s = time.process_time() - started
    started = time.process_time()
    read_model(path)
    read_cpu_s = time.process_time() - started
    report = file_report(path)
    return {'file_bytes': report.file_bytes, 'ratio': parent_bytes / report.file_bytes,
            'bound_bytes': report.bound_bytes,
            'over_bound': report.file_bytes / report.bound_bytes - 1.0,
            'write_cpu_s': write_cpu_s, 'read_cpu_s': read_cpu_s}


def calibrate(model: Model, images: NDArray[np.float32]) -> dict[str, Any]:
    """Return uint8 ranges of all layers, from the extremes on the images."""
    import torch

    from vpr_compressed.offline.compression.calibration_images import calibrate as ranges
    from vpr_compressed.offline.compression.student import Student

    batches = [torch.from_numpy(image[np.newaxis]) for image in images]
    return dict(ranges(Student.of_model(model), batches, 100.0))


def parity(model: Model, images: NDArray[np.float32]) -> Row:
    """Return the least cosine between torch and ONNX Runtime on the images."""
    from vpr_compressed.runtime.engines import ENGINES

    weights = {name: model.float_tensor(name) for name in model.tensors}
    reference = torch_descriptors(model.spec, weights, images, model.activations)
    del weights
    engine = ENGINES.load(model)
    found = np.stack([engine.describe(image[np.newaxis]) for image in images])
    return {'torch_against_onnxruntime': float((reference * found).sum(axis=1).min())}


def child(path: Path, args: argparse.Namespace) -> Row:
    """Load and run a model file in a process of its own."""
    result = subprocess.run(  # noqa: S603 - this very program
        [sys.executable, '-m', 'benchmarks.vgg16', '--measure', str(path),
         '--repeats', str(args.repeats), '--threads', str(args.threads)],
        capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return {'failed': result.stderr.strip().splitlines()[-1:]}
    return dict(json.loads(result.stdout))


def measure(path: Path, repeats: int, threads: int) -> Row:
    """
    Return seconds to load, memory added and milliseconds per image of a model file.

    CPU time, summed over threads, is what counts on a busy machine.
    """
    from vpr_compressed.offline.measuring.model_process import load_measured

    begun = time.process_time()
    extractor, cost = load_measured(path, engine='onnxruntime', threads=threads)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    loaded_cpu_s = time.process_time() - begun
    times_ms = []
    for _ in range(repeats):
        started = time.perf_counter(), time.process_time()
        extractor.describe(image)
        times_ms.append((1e3 * (time.perf_counter() - started[0]),
                         1e3 * (time.process_time() - started[1])))
    wall_ms, cpu_ms = np.median(times_ms, axis=0)
    return {'load_s': cost.load_s, 'load_cpu_s': loaded_cpu_s, 'ms_per_image': float(wall_ms),
            'fastest_ms': float(np.min(times_ms, axis=0)[0]), 'cpu_ms_per_image': float(cpu_ms),
            'resident_bytes': cost.resident_bytes}


def show(row: Row) -> Row:
    """Print a row of the table and return it."""
    texts = []
    for name, value in row.items():
        if name.endswith('_bytes'):
            texts.append(f'{name.removesuffix("_bytes")} {value / 1e6:.2f} MB')
        elif name != 'model':
            texts.append(f'{name} {value:.6g}' if isinstance(value, float) else f'{name} {value}')
    print(f'{row["model"]:24s} {", ".join(texts)}', flush=True)
    return row


if __name__ == '__main__':
    main()
