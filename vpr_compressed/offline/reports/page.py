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


"""The parts every report page is made of."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from vpr_compressed.offline.reports.comparison import DEFINITIONS
from vpr_compressed.offline.reports.figures import Plot

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --soft: #52606d; --line: #dde3ea; --blue: #0b66c3;
  --orange: #c2410c; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 1.15rem; margin: 40px 0 12px; }
p { margin: 0 0 10px; }
.soft { color: var(--soft); }
.cards { display: grid; gap: 12px; margin: 20px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(max(140px, 22%), 1fr)); }
.card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.card b { display: block; font-size: 1.55rem; line-height: 1.2;
  font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.plots { columns: 2 460px; column-gap: 16px; }
figure { margin: 0 0 16px; background: #fff; border: 1px solid var(--line);
  border-radius: 10px; padding: 12px; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .88rem; padding-top: 8px; }
.space { margin-top: 12px; }
.scroll { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: 6px 12px; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; width: 32%; overflow-wrap: normal; }
tr:last-child th, tr:last-child td { border-bottom: 0; }
.wide td, .wide th { white-space: nowrap; width: auto; overflow-wrap: normal; }
.num { text-align: right; font-variant-numeric: tabular-nums; }
.right { color: var(--blue); } .wrong { color: var(--orange); font-weight: 600; }
pre { background: #1f2933; color: #f5f7fa; padding: 12px 14px; border-radius: 10px; margin: 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
.pinned th:first-child { position: sticky; left: 0; background: #fff; white-space: normal;
  min-width: 7rem; }
.heads th { white-space: normal; }
.strip { display: flex; flex-wrap: wrap; gap: 10px; margin: 0 0 14px; }
.tile { margin: 0; padding: 6px; border-width: 3px; flex: 1 1 140px; max-width: 250px; }
.tile figcaption { padding-top: 4px; font-size: .8rem; overflow-wrap: anywhere; }
.tile.right { border-color: var(--blue); } .tile.wrong { border-color: var(--orange);
  font-weight: inherit; } .tile.solution { border-color: #1a936f; }
@media (max-width: 500px) { .pinned, .heads { font-size: .8rem; }
  .pinned td, .pinned th, .heads td, .heads th { padding: 5px 7px; }
  .strip .tile { flex: 0 1 calc(50% - 5px); } }
details summary { cursor: pointer; padding: 8px 0; }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""


def document(title: str, body: str) -> str:
    """
    Return a whole page in the common style.

    :param title: plain text
    :param body: HTML of the content
    """
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>
{body}
</main></body></html>
"""


def size_text(count: int) -> str:
    """Return a number of bytes with three digits."""
    return f'{count / 1e6:.3g} MB' if count >= 1e6 else f'{count / 1e3:.3g} kB'


def card(value: str, meaning: str) -> str:
    """Return one headline number."""
    return f'<div class="card"><b>{escape(value)}</b><span>{escape(meaning)}</span></div>'


def figure(plot: Plot) -> str:
    """Return one plot with its caption as text, so that it wraps on a phone."""
    data = base64.b64encode(plot.png(caption=False)).decode()
    return (
        f'<figure><img alt="{escape(plot.title)}" src="data:image/png;base64,{data}">'
        f'<figcaption>{escape(plot.caption)}</figcaption></figure>')


def definitions() -> str:
    """Return the foldable table of what the numbers mean."""
    return ('<details><summary>What the numbers mean</summary><div class="scroll">'
            f'{table(list(DEFINITIONS))}</div></details>')


def environment(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    Return the computer and the versions that decide the numbers.

    :param values: with ``machine`` and ``versions``, as :mod:`.summary` gives them
    """
    machine = values['machine']
    return [
        ('machine', f'{machine["processor"]}, {machine["cores"]} cores, '
         f'{machine["memory_bytes"] / 1e9:.1f} GB, {machine["system"]}'),
        ('versions', ', '.join(f'{name} {text}' for name, text in values['versions'].items()))]


def table(rows: list[tuple[str, str]]) -> str:
    """Return a table of names and values."""
    lines = ''.join(
        f'<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f'<table>{lines}</table>'
