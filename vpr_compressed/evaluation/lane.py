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


"""A process of this package that answers, line by line, what it is asked: the lane of a race."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from vpr_compressed import children
from vpr_compressed.errors import VprError

_WAIT_S = 10.0


class Lane:
    """
    A process that prints a line of JSON when it is ready, and one for every line it is given.

    It is to end with its standard input.

    :param module: what ``python -m`` runs
    :param arguments: of that module
    :param name: for messages
    :param log: file its messages on standard error go to; None drops them
    """

    def __init__(
        self, module: str, arguments: Sequence[str], *, name: str, log: Path | None = None
    ) -> None:
        self._name, self._log = name, log
        with Path(os.devnull if log is None else log).open('w', encoding='utf-8') as messages:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, '-m', module, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True,
                env=children.environment())
        self.facts: dict[str, Any] = {}

    def load(self) -> None:
        """Wait until the process is ready; that it cannot be is a fact as well."""
        try:
            self.facts = self.answer()
        except VprError as error:
            self.facts = {'error': str(error)}

    def ask(self, line: str) -> dict[str, Any]:
        """
        Hand over a line and return the answer.

        :raises VprError: if the process has died
        """
        assert self._process.stdin is not None  # noqa: S101  (it was started with a pipe)
        try:
            self._process.stdin.write(f'{line}\n')
            self._process.stdin.flush()
        except OSError as error:
            raise VprError(self._ended()) from error
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """
        Return the next line of the process.

        :raises VprError: if the process has died
        """
        assert self._process.stdout is not None  # noqa: S101  (it was started with a pipe)
        line = self._process.stdout.readline()
        if not line:
            raise VprError(self._ended())
        values: dict[str, Any] = json.loads(line)
        return values

    def _ended(self) -> str:
        """Return how the process ended, in words."""
        status = self._process.wait(_WAIT_S)
        how = f'signal {-status}' if status < 0 else f'status {status}'
        hint = '; is there too little memory?' if status == -9 else (
            '' if self._log is None else f'; its messages are in {self._log}')
        return f'{self._name} ended with {how}{hint}'

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # it may be gone already
                    stream.close()
        try:
            self._process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
