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
What compressed weights must obey while they are trained: zeros stay, shared values are shared.

The network always holds ordinary dense weights. Around every optimiser step the constraints
write the weights they allow into it and turn the gradients of the weights into those of what
is really trained. A masked network and a pruned one are therefore the same network.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch import Tensor

from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.compression.codebook import Codebook


class Constraints:
    """Masks and codebooks by tensor name."""

    def __init__(self) -> None:
        #: bool, True where a weight is pruned.
        self.pruned: dict[str, Tensor] = {}
        self.codebooks: dict[str, Codebook] = {}
        #: Full-precision weights behind a codebook while its members may still move.
        self.latent: dict[str, nn.Parameter] = {}

    def prune(self, name: str, pruned: Tensor) -> None:
        """
        Keep weights at zero from now on; those pruned before stay pruned.

        :param pruned: bool, shape of the tensor
        """
        before = self.pruned.get(name)
        self.pruned[name] = pruned if before is None else pruned | before

    def trained(self) -> Iterable[tuple[str, list[nn.Parameter]]]:
        """Yield the parameters trained in place of each shared tensor."""
        for name, book in self.codebooks.items():
            yield name, [self.latent[name]] if name in self.latent else book.parameters()

    def begin_moving(self, named: Mapping[str, nn.Parameter], names: Iterable[str]) -> None:
        """
        Let members of codebooks change their shared value, starting from full weights.

        :param named: the network's parameters with the weights before sharing
        """
        for name in names:
            self.latent[name] = nn.Parameter(named[name].detach().clone())

    def end_moving(self) -> None:
        """Fix membership where it is now."""
        self.latent.clear()

    def write(self, named: Mapping[str, nn.Parameter]) -> None:
        """Write the weights the constraints allow into the network."""
        with torch.no_grad():
            for name, mask in self.pruned.items():
                if name not in self.codebooks:
                    named[name].masked_fill_(mask, 0.0)
            for name, book in self.codebooks.items():
                if name in self.latent:
                    book.assign(self.latent[name].detach(), self.pruned.get(name))
                book.settle()
                named[name].copy_(book.weight())

    def pull(self, named: Mapping[str, nn.Parameter]) -> None:
        """
        Pass the gradients of the network on to what is trained.

        :raises TrainingError: if a shared tensor has no gradient
        """
        for name, mask in self.pruned.items():
            gradient = named[name].grad
            if gradient is not None:
                gradient.masked_fill_(mask, 0.0)
        for name, book in self.codebooks.items():
            gradient = named[name].grad
            if gradient is None:
                continue  # frozen
            if name in self.latent:
                self.latent[name].grad = gradient
            else:
                book.pull(gradient)

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.pruned = {name: mask.to(device) for name, mask in self.pruned.items()}
        for book in self.codebooks.values():
            book.to(device)
        for value in self.latent.values():
            value.data = value.data.to(device)

    def state(self) -> dict[str, Any]:
        """Return everything as tensors, for a checkpoint."""
        return {
            'pruned': dict(self.pruned),
            'codebooks': {name: book.state() for name, book in self.codebooks.items()},
            'latent': {name: value.detach() for name, value in self.latent.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """
        Restore :meth:`state`.

        :raises TrainingError: if it is incomplete
        """
        try:
            self.pruned = dict(state['pruned'])
            self.codebooks = {
                name: Codebook.from_state(book) for name, book in state['codebooks'].items()}
            self.latent = {
                name: nn.Parameter(value) for name, value in state['latent'].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise TrainingError(
                f'the constraints in the checkpoint are incomplete ({error!r}); start again '
                'with another --out') from error
