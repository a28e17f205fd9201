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

"""What ctrl-C and SIGTERM do to a long work, in the foreground and in the background."""

from __future__ import annotations

import signal

import pytest
from signals import sigint

from vpr_compressed.offline.training.parallel import stop_signals


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ctrl_c_interrupts(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user is told both; afterwards signals mean what they meant before."""
    with sigint():
        before = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)]
        with stop_signals() as stopped:
            assert not stopped()
            signal.raise_signal(number)
            assert stopped()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)] == before
    assert capsys.readouterr().err == 'finishing this step; once more to stop at once\n'


def test_an_ignored_ctrl_c_stays_ignored_and_sigterm_asks(
    capsys: pytest.CaptureFixture[str]
) -> None:
    """As often as it comes, before and after."""
    with sigint(default=False):
        with stop_signals() as stopped:
            signal.raise_signal(signal.SIGINT)
            assert not stopped()
            signal.raise_signal(signal.SIGTERM)
            assert stopped()
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert capsys.readouterr().err == 'finishing this step\n'
