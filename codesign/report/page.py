"""The study as one self-contained HTML page: no network, light and dark, phone, desktop, print.

Charts are drawn by Plotly's full script (the Python package ships no smaller one), embedded
compressed (2 MB of the page), and inflated by the browser. Parallel coordinates are drawn by a
script of our own: Plotly's need WebGL and code made at run time, which the page's policy forbids,
and know neither keyboard nor knobs that sleep.
"""

from __future__ import annotations

import base64
import gzip
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from codesign.errors import MissingPackageError
from codesign.report import front, sections
from codesign.report.analysis import importance_note, trend_note
from codesign.report.columns import constant_knobs
from codesign.report.figures import knob_figure
from codesign.report.payload import payload_json

if TYPE_CHECKING:
    from codesign.report.analysis import Analysis
    from codesign.report.content import ReportContent


SCRIPTS = ("table.js", "plotting.js", "within.js", "front.js", "parallel.js", "charts.js",
           "compare.js", "redraw.js")  # fmt: skip
"""In the order in which the page runs them."""

LIVE_SCRIPTS = ("morph.js", "running.js", "logs.js", "live.js")
"""What a page that follows a study runs besides, before `redraw.js`."""


def render_page(analysis: Analysis, *, version: str = "") -> str:
    """Return the whole page. Every text of the study is escaped; nothing is fetched.

    Args:
        analysis: what it shows.
        version: of what it shows, for a page that follows the study: it asks the server that sent
            it for what came later. Empty: a page that stands alone.

    Raises:
        MissingPackageError: the plotly package, whose script is embedded, is not installed.
    """
    content = analysis.content
    live = bool(version)
    scripts = (*SCRIPTS[:-1], *(LIVE_SCRIPTS if live else ()), SCRIPTS[-1])
    return Template(_asset("page.html")).substitute(
        page_parts(analysis, live=live),
        title=escape(content.title or content.study),
        study=escape(content.study),
        task=escape(content.task),
        spec=escape(content.spec_yaml),
        following=f' data-version="{escape(version)}"' if live else "",
        connect="; connect-src 'self'" if live else "",
        live=_asset("live.html") if live else "",
        running=_asset("running.html") if live else "",
        payload=payload_json(analysis),
        css=_asset("page.css"),
        js="".join(_asset(name) for name in scripts),
        plotly=_compressed_plotly(),
    )


def page_parts(analysis: Analysis, *, live: bool = False) -> dict[str, str]:
    """Return what the page says without a script: name of a place on the page → HTML."""
    content = analysis.content
    return {
        "lede": escape(sections.lede(content)),
        "best": front.best_design(content),
        "front_note": escape(front.front_note(content)),
        "trend_note": escape(trend_note(content, analysis.trend)),
        "front_alt": escape(front.front_alt(content)),
        "front_table": front.front_table(content),
        "comparison_note": escape(front.comparison_note(content)),
        "importance_note": escape(importance_note(analysis.importance)),
        "importance": sections.importance_table(analysis.importance),
        "volume_note": escape(sections.volume_note(content)),
        "checks": sections.check_charts(content),
        "failures": sections.failure_table(content, logs=live),
        "trials_note": escape(_trials_note(content)),
        "facts": sections.data_facts(content),
        "provenance": sections.definitions(content.provenance.items()),
    }


def _asset(name: str) -> str:
    return files("codesign.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _compressed_plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingPackageError(
            f"the report's charts need the package plotly, which does not load ({error})",
            hint="pip install 'plotly>=6,<8'",
        ) from error
    # mtime=0: the same study gives the same bytes.
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _trials_note(content: ReportContent) -> str:
    same = ", ".join(f"{k} = {knob_figure(v)}" for k, v in constant_knobs(content).items())
    told = "Press a column's name to sort by it. Front trials have a coloured number."
    return f"{told} The same in all trials: {same}." if same else told
