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
A long work with torch: how it is ended, and how processes share it, as ``torchrun`` starts them.

Every process holds the whole network and runs a share of each batch. The descriptors are then
gathered, so that every process computes the loss of the whole batch, and the gradients are those
of one process: :func:`gather` hands back the gradient of the own share times the number of
processes, and ``DistributedDataParallel``, which averages, takes that factor out again. Terms
of the loss on the weights themselves need no factor for the same reason.

Functions marked *collective* must be called by all processes, in the same order; in a single
process they do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta
import os
import signal
from typing import Any
from typing import TypeVar

import torch
from torch import distributed
from torch import nn
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vpr_compressed.errors import TrainingError
from vpr_compressed.errors import VprError
from vpr_compressed.system.terminal import say

Made = TypeVar('Made')
#: Fitting the starting network takes one process long; a dead one is noticed by torchrun.
_PATIENCE = timedelta(hours=24)


@contextmanager
def joined() -> Iterator[None]:
    """
    Join the other processes if ``torchrun`` started this one among several; collective.

    The context ends when all processes are done.

    :raises TrainingError: if there are fewer GPUs than processes, the others are not there, or
        one of them ends in the middle
    """
    if int(os.environ.get('WORLD_SIZE', '1')) > 1 and not distributed.is_initialized():
        _join()
    try:
        yield
        barrier()  # who hangs up while another still talks can make it fail
    except RuntimeError as error:
        if world_size() > 1 and 'peer' in str(error):  # gloo: "Connection closed by peer"
            raise TrainingError(
                'another process of this training ended; see its message') from error
        raise


def _join() -> None:
    """Meet the other processes, each on a GPU of its own if there are any."""
    backend = 'gloo'
    if torch.cuda.is_available():
        local, gpus = int(os.environ.get('LOCAL_RANK', '0')), torch.cuda.device_count()
        if local >= gpus:
            raise TrainingError(
                f'process {local} of this machine has no GPU of its own, there are {gpus}; give '
                f'torchrun --nproc-per-node {gpus}, or hide them with CUDA_VISIBLE_DEVICES=')
        torch.cuda.set_device(local)
        backend = 'nccl'
    try:
        distributed.init_process_group(backend, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f'cannot join the other processes ({error}); start them with torchrun, or unset '
            'WORLD_SIZE to train in one process') from error


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_main() -> bool:
    """Tell whether this process is the one that writes files and talks."""
    return rank() == 0


def tell(text: str) -> None:
    """Print one line on stderr, once for all processes."""
    if is_main():
        say(text)


def barrier() -> None:
    """Wait until all processes are here; collective."""
    if world_size() > 1:
        any_true(flag=False)


def any_true(*, flag: bool) -> bool:
    """Tell whether the flag is true in any process; collective."""
    if world_size() < 2:
        return flag
    flags = torch.tensor([float(flag)], device=_device())
    distributed.all_reduce(flags)
    return bool(flags.item() > 0.0)


def from_main(make: Callable[[], Made]) -> Made:
    """
    Return what a function returns in the main process, in all of them; collective.

    :param make: called in the main process only; its result must be picklable
    :raises TrainingError: in every process, if it raised a :class:`VprError`
    """
    if world_size() < 2:
        return make()
    outcome: list[Any] = [None, None]
    failure: VprError | None = None
    if is_main():
        try:
            outcome[0] = make()
        except VprError as error:
            failure, outcome[1] = error, str(error)
    distributed.broadcast_object_list(outcome, src=0)
    if failure is not None:
        raise failure
    if outcome[1] is not None:
        raise TrainingError(outcome[1])
    made: Made = outcome[0]
    return made


def share_of(count: int) -> range:
    """
    Return which of some items (the pairs of a batch) belong to this process.

    :returns: consecutive; the shares of all processes differ by one item at most
    """
    return range(count * rank() // world_size(), count * (rank() + 1) // world_size())


def pair_rows(count: int) -> list[int]:
    """
    Return the rows of a batch of ``2 * count`` images that belong to this process.

    :param count: pairs; row ``i`` and ``i + count`` are a pair
    :raises TrainingError: if there are fewer pairs than processes
    """
    if count < world_size():
        raise TrainingError(
            f'{world_size()} processes need at least as many pairs in a batch, got {count}; '
            'raise "pairs" or start fewer processes')
    share = share_of(count)
    return [*share, *(number + count for number in share)]


def gather(part: Tensor, rows: Sequence[int], count: int) -> Tensor:
    """
    Return the rows of all processes; collective.

    The result carries gradient to ``part``, scaled as :func:`wrap` needs it.

    :param part: own rows, ``(len(rows), ...)``
    :param rows: where they belong; every row belongs to one process
    :param count: rows of all processes
    :returns: ``(count, ...)``, the same numbers in every process, on the GPU if there is one
    """
    if world_size() < 2:
        return part
    part = part.to(_device())
    whole: Tensor = _Gather.apply(part, list(rows), count)
    return whole


def wrap(module: nn.Module) -> nn.Module:
    """
    Return a module that calls another and averages its gradients over the processes; collective.

    The weights of the main process are copied to the others first.

    :param module: every trainable parameter must take part in its ``forward``
    """
    if world_size() < 2:
        return module
    gpu = [torch.cuda.current_device()] if _device().type == 'cuda' else None
    return DistributedDataParallel(module, device_ids=gpu)


class _Gather(torch.autograd.Function):
    """Sum of every process's rows among zeros: exact, and shares may differ in size."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rows: list[int], count: int) -> Tensor:
        ctx.rows = rows
        whole = part.new_zeros((count, *part.shape[1:]))
        whole[rows] = part
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.rows] * world_size(), None, None


def _device() -> torch.device:
    """Return where tensors that travel between processes must lie."""
    if distributed.get_backend() == 'nccl':
        return torch.device('cuda', torch.cuda.current_device())
    return torch.device('cpu')


class StoppedError(TrainingError):
    """The user asked to stop; everything needed to go on is saved."""


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """
    Yield a function that tells whether ctrl-C or SIGTERM has asked to stop.

    A second ctrl-C interrupts at once. Where SIGINT was ignored at the start, as in a background
    job or under nohup, it stays ignored.
    """
    asked = False
    hears_ctrl_c = signal.getsignal(signal.SIGINT) != signal.SIG_IGN

    def handle(_number: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        hint = ''
        if hears_ctrl_c:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            hint = '; once more to stop at once'
        tell(f'finishing this step{hint}')

    numbers = (signal.SIGINT, signal.SIGTERM) if hears_ctrl_c else (signal.SIGTERM,)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
