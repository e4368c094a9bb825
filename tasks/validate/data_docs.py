"""Data Docs: Great Expectations' own pages, made to be read without a network."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from tasks.formats.verdicts import INDEX
from tasks.validate.outcomes import Outcome

_ACTIVE = ("script", "iframe")
_LOADING = re.compile(r"<(?:link|img)\b[^<>]*+>|url\([^()]*+\)", re.IGNORECASE)
_UPWARDS = re.compile(r'"(?:\.\./)++(?:index\.html|expectations/[^"]*+)"')
_HEAD = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}td,th{border:1px solid #ccc;padding:.3rem .6rem;
text-align:left;vertical-align:top;overflow-wrap:anywhere}ul.nav{list-style:none;padding:0}.alert{background:#eee;
padding:.5rem 1rem}.badge{border:1px solid #999;border-radius:.3rem;padding:0 .3rem}
.fa-times:before,.failed{color:#b00020}
.fa-times:before{content:"failed"}.fa-check-circle:before{content:"passed";color:#1b7a2f}
.fa-exclamation-triangle:before{content:"broken"}.btn-group,.sticky,.cooltip span{display:none}
</style>"""


def write(
    folder: Path,
    title: str,
    outcomes: Sequence[Outcome],
    results: Mapping[str, Any],
    aside: Mapping[str, Sequence[str]] | None = None,
    languages: Mapping[str, str] | None = None,
) -> Path:
    """Write index.html, with every outcome, and one page for each table as Great Expectations renders it.

    `aside` says why each shard was set aside, `languages` those of each source. The pages load nothing and run nothing:
    what a row of data holds cannot act in them. Returns the index page.
    """
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    folder.mkdir(parents=True, exist_ok=True)
    view: Any = DefaultJinjaPageView()
    for name, result in results.items():
        page = view.render(ValidationResultsPageRenderer().render(_escaped(result)))
        (folder / f"{name}.html").write_text(_still(page), encoding="utf-8")
    index = folder / INDEX
    before = _aside(aside or {}) + _languages(languages or {})
    index.write_text(_index(title, outcomes, results, before), encoding="utf-8")
    return index


def _escaped(result: Any) -> Any:
    """A copy of a result in which no text is markup: Great Expectations writes values into its pages as they are."""
    copy = deepcopy(result)
    for one in copy.results:
        one.result = _text(one.result)
        one.exception_info = _text(one.exception_info)
        one.expectation_config.kwargs = _text(one.expectation_config.kwargs)
    return copy


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {_text(name): _text(inner) for name, inner in value.items()}
    return [_text(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _without(page: str, tag: str) -> str:
    """A page without the elements of a tag."""
    kept, at = list[str](), 0
    while (start := page.find(f"<{tag}", at)) >= 0 and (end := page.find(f"</{tag}>", start)) >= 0:
        kept.append(page[at:start])
        at = end + len(f"</{tag}>")
    return "".join([*kept, page[at:]])


def _still(page: str) -> str:
    for tag in _ACTIVE:
        page = _without(page, tag)
    page = _UPWARDS.sub(f'"{INDEX}"', _LOADING.sub("", page))
    return re.sub(r"<head>", f"<head>\n{_HEAD}", page, count=1)


def _index(title: str, outcomes: Sequence[Outcome], results: Mapping[str, Any], before: str) -> str:
    rows = "\n".join(_row(outcome) for outcome in sorted(outcomes, key=lambda o: (o.success, o.severity)))
    pages = " · ".join(f'<a href="{name}.html">{name}</a>' for name in results)
    passed = sum(outcome.success for outcome in outcomes)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
{_HEAD}</head><body><h1>{html.escape(title)}</h1>
<p>{passed} of {len(outcomes)} expectations are met. Pages by table: {pages}</p>
{before}<table><tr><th>Outcome<th>Severity<th>Expectation<th>Column<th>Table<th>Expected<th>Observed<th>Shards</tr>
{rows}
</table></body></html>
"""


def _aside(aside: Mapping[str, Sequence[str]]) -> str:
    if not aside:
        return ""
    rows = "\n".join(
        f"<tr><td>{html.escape(shard)}<td>{'<br>'.join(map(html.escape, why))}</tr>" for shard, why in aside.items()
    )
    return f"""<h2>Set aside</h2>
<p>These shards failed and are left out; what follows is about the others. The pages before_… are about all.</p>
<table><tr><th>Shard<th>Why</tr>
{rows}
</table>
"""


def _languages(languages: Mapping[str, str]) -> str:
    if not languages:
        return ""
    rows = "\n".join(f"<tr><td>{html.escape(source)}<td>{html.escape(said)}</tr>" for source, said in languages.items())
    return f"""<h2>Languages</h2>
<p>Of the sampled rows of each source, as shares.</p>
<table><tr><th>Source<th>Languages</tr>
{rows}
</table>
"""


def _row(outcome: Outcome) -> str:
    verdict = "passed" if outcome.success else '<b class="failed">failed</b>'
    expected = ", ".join(f"{name}={value!r}" for name, value in sorted(outcome.expected.items()))
    table = outcome.table if outcome.table == "full" else f'<a href="{outcome.table}.html">{outcome.table}</a>'
    table += f" of kind {html.escape(', '.join(outcome.kinds))}" if outcome.kinds else ""
    shards = "" if outcome.success else ", ".join(outcome.shards)
    cells = [outcome.severity, outcome.expectation, outcome.column or "", expected, outcome.observed, shards]
    severity, name, column, wanted, observed, where = map(html.escape, cells)
    return f"<tr><td>{verdict}<td>{severity}<td>{name}<td>{column}<td>{table}<td>{wanted}<td>{observed}<td>{where}</tr>"
