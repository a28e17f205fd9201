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
Measure coders of weights: bytes against the entropy bound, milliseconds and memory.

The weights are made up (Laplace-distributed, pruned, on an int8 grid of few levels) or those of a
model file. ``own`` is vpr_compressed.model_file.entropy, ``zlib`` its coder without splitting.
constriction, zstandard and brotli are measured where they are installed. Memory is what Python
sees while decoding, beyond the decoded symbols, for coders that allocate through Python. Run
from the repository root: ``python -m benchmarks.coders``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import importlib
import lzma
from pathlib import Path
import time
import tracemalloc
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.model_file import entropy
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import entropy_bits
from vpr_compressed.model_file.tensors import QuantizedTensor

Symbols = NDArray[np.uint8]
Coder = tuple[Callable[[Symbols], Any], Callable[[Any, int], Symbols]]


def main() -> None:
    """Run all coders on all weights and print a table for each."""
    args = parse_arguments()
    coders, absent = candidates()
    for name in absent:
        print(f'{name} is not installed and left out')
    for title, symbols in weights(args):
        bound = entropy_bits(CodebookTensor(symbols, np.zeros(256, np.float32))) / 8
        print(f'\n{title}: {symbols.size} symbols, entropy bound {bound:.0f} bytes\n'
              f'{"":24s} {"bytes":>10s} {"of bound":>9s} {"encode ms":>10s} {"decode ms":>10s} '
              f'{"extra MB":>9s}')
        for name, coder in coders.items():
            report(name, coder, symbols, bound, args.repeat)


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', type=Path, help='.vpr whose weights to code instead')
    parser.add_argument('--count', type=int, default=12288 * 512, help='default %(default)s')
    parser.add_argument('--zeros', type=float, nargs='*', default=[0.8, 0.9, 0.95],
                        help='shares of zeros, default %(default)s')
    parser.add_argument('--levels', type=int, nargs='*', default=[15, 31],
                        help='distinct values, default %(default)s')
    parser.add_argument('--repeat', type=int, default=3,
                        help='times each is run; the fastest counts, default %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default %(default)s')
    return parser.parse_args()


def weights(args: argparse.Namespace) -> list[tuple[str, Symbols]]:
    """Return title and symbols of each thing to code."""
    if args.model is not None:
        found = {name: tensor for name, tensor in read_model(args.model).tensors.items()
                 if isinstance(tensor, QuantizedTensor | CodebookTensor)}
        return [(name, (tensor.values if isinstance(tensor, QuantizedTensor)
                        else tensor.symbols).reshape(-1).view(np.uint8))
                for name, tensor in sorted(found.items(), key=lambda item: -np.prod(
                    item[1].shape))[:3]]
    rng = np.random.default_rng(args.seed)
    made = [(f'{zeros:.0%} zeros, {levels} levels', pruned(rng, args.count, zeros, levels))
            for zeros in args.zeros for levels in args.levels]
    return [*made, ('a trunk: 30% zeros, 127 levels', pruned(rng, 600_000, 0.3, 127))]


def pruned(rng: np.random.Generator, count: int, zeros: float, levels: int) -> Symbols:
    """Return Laplace weights, the smallest set to zero, the others on a uniform grid."""
    values = rng.laplace(size=count).astype(np.float32)
    size = np.abs(values)
    least, most = np.quantile(size[:1_000_000], [zeros, 0.99995])
    half = levels // 2
    grid = np.clip(np.rint(values * (half / most)), -half, half)
    grid = np.where(grid == 0, np.sign(values), grid)
    return np.where(size < least, 0, grid).astype(np.int8).view(np.uint8)


def candidates() -> tuple[dict[str, Coder], list[str]]:
    """Return name -> (encode, decode), and what is not installed."""
    raw = {'level': 1, 'wbits': -15, 'memLevel': 9, 'strategy': zlib.Z_HUFFMAN_ONLY}

    def huffman(symbols: Symbols) -> bytes:
        coder = zlib.compressobj(**raw)
        return coder.compress(symbols.data) + coder.flush()

    found: dict[str, Coder] = {
        'own: planes + zlib': (entropy.encode, entropy.decode),
        'zlib, Huffman only': (huffman, lambda data, _: as_symbols(zlib.decompress(data, -15))),
        'zlib, level 9': (lambda s: zlib.compress(s.data, 9),
                          lambda data, _: as_symbols(zlib.decompress(data))),
        'lzma': (lambda s: lzma.compress(s.data, preset=1),
                 lambda data, _: as_symbols(lzma.decompress(data)))}
    absent = []
    optional = {'zstandard': zstandard_coders, 'brotli': brotli_coders,
                'constriction': constriction_coders}
    for name, make in optional.items():
        try:
            found |= make(importlib.import_module(name))
        except ImportError:
            absent.append(name)
    return found, absent


def zstandard_coders(module: Any) -> dict[str, Coder]:
    """Return zstd at a fast and at a thorough level."""
    return {f'zstandard, level {level}': (
        lambda s, level=level: module.ZstdCompressor(level=level).compress(s.data),
        lambda data, _: as_symbols(module.ZstdDecompressor().decompress(data)))
        for level in (1, 19)}


def brotli_coders(module: Any) -> dict[str, Coder]:
    """Return brotli at a middle level; its best takes minutes."""
    return {'brotli, level 5': (
        lambda s: module.compress(s.tobytes(), quality=5),
        lambda data, _: as_symbols(module.decompress(data)))}


def constriction_coders(module: Any) -> dict[str, Coder]:
    """Return an ANS and a range coder with the histogram as their model, 4 bytes a symbol."""
    stream = module.stream

    def model(counts: NDArray[np.int64]) -> Any:
        return stream.model.Categorical(
            (counts / counts.sum()).astype(np.float32), perfect=False)

    def ranks(symbols: Symbols) -> tuple[Symbols, NDArray[np.int32], NDArray[np.int64]]:
        alphabet, inverse, counts = np.unique(symbols, return_inverse=True, return_counts=True)
        return alphabet, inverse.astype(np.int32), counts

    def ans(symbols: Symbols) -> Any:
        alphabet, found, counts = ranks(symbols)
        coder = stream.stack.AnsCoder()
        coder.encode_reverse(found, model(counts))
        return coder.get_compressed(), alphabet, counts

    def queue(symbols: Symbols) -> Any:
        alphabet, found, counts = ranks(symbols)
        coder = stream.queue.RangeEncoder()
        coder.encode(found, model(counts))
        return coder.get_compressed(), alphabet, counts

    def back(decoder: Callable[[Any], Any]) -> Callable[[Any, int], Symbols]:
        return lambda data, count: data[1][decoder(data[0]).decode(model(data[2]), count)]

    return {'constriction, ANS': (ans, back(stream.stack.AnsCoder)),
            'constriction, range': (queue, back(stream.queue.RangeDecoder))}


def as_symbols(data: bytes) -> Symbols:
    """Return bytes as an array."""
    return np.frombuffer(data, np.uint8)


def size_of(data: Any) -> int:
    """Return the bytes of a coded stream, with the table that its decoder needs."""
    if isinstance(data, tuple):
        words, alphabet, _ = data
        return int(words.nbytes + 5 * len(alphabet))
    return len(data)


def report(name: str, coder: Coder, symbols: Symbols, bound: float, repeat: int) -> None:
    """Measure one coder and print its row."""
    encode, decode = coder
    times: tuple[list[float], list[float]] = ([], [])
    data: Any = None
    for _ in range(repeat):
        started = time.perf_counter()
        data = encode(symbols)
        times[0].append(time.perf_counter() - started)
        started = time.perf_counter()
        found = decode(data, symbols.size)
        times[1].append(time.perf_counter() - started)
        if not np.array_equal(found, symbols):
            raise RuntimeError(f'{name} does not give back what it was given')
    tracemalloc.start()
    decode(data, symbols.size)
    extra = tracemalloc.get_traced_memory()[1] - symbols.size
    tracemalloc.stop()
    size = size_of(data)
    print(f'{name:24s} {size:10d} {size / bound:9.4f} {1e3 * min(times[0]):10.1f} '
          f'{1e3 * min(times[1]):10.1f} {extra / 1e6:9.2f}')


if __name__ == '__main__':
    main()
