"""The comparison as one HTML page: nothing in it comes from elsewhere, so it opens without network."""

import statistics
from html import escape
from typing import Any

from experiments.reporting import svg as figures
from experiments.reporting.comparison import Comparison, Run
from experiments.reporting.comparison_table import Cells, advice, better, cells, way, wide
from experiments.reporting.explore import explorer
from experiments.reporting.tables import NONE, Table, counted, html, number
from experiments.runs.folder import NOT_SETTINGS

NAMED = (*NOT_SETTINGS, "agent", "seed", "seeds")  # settings that have a column of their own, or none
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #ffffff; --soft: #5c6168; --line: #d7dade; --band: #f4f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --paper: #15171a; --soft: #a2a8b0; --line: #363b41; --band: #1d2024; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem); max-width: 84rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
p, figcaption, li { color: var(--soft); max-width: 70ch; }
p { margin: .25rem 0 .75rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.5rem; }
figure, .part { margin: 0; min-width: 0; }
.beside { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.beside figure { flex: 1 1 28rem; }
.beside .part { flex: 0 1 auto; max-width: 100%; }
figcaption, ul { font-size: .875rem; }
ul { padding-left: 1.1rem; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 28rem; max-width: 46rem; height: auto; color: var(--ink); }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .3rem .5rem; text-align: right; white-space: nowrap; vertical-align: top;
         border-bottom: 1px solid var(--line); }
.text { text-align: left; }
.wrap { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
thead th { white-space: normal; vertical-align: bottom; border-bottom: 2px solid var(--line); }
tbody tr.first td { border-top: 2px solid var(--line); }
tbody tr:hover { background: var(--band); }
svg.explored { min-width: 0; }
svg.explored text { fill: var(--soft); font-size: 13px; }
svg.explored .grid { stroke: var(--line); }
svg.explored .pointer { stroke: var(--soft); stroke-dasharray: 3 3; }
svg.explored .mark { stroke: var(--paper); stroke-width: 1.5; }
.agents, .choices, .said { display: flex; flex-wrap: wrap; gap: .3rem .9rem; align-items: center; font-size: .875rem; }
.agents { border: 1px solid var(--line); border-radius: .4rem; margin: 1rem 0 0; padding: .3rem .8rem .6rem; min-width: 0; }
.agents legend { color: var(--soft); padding: 0 .3rem; }
.agents label, .value { display: inline-flex; align-items: center; gap: .35rem; }
.said { color: var(--soft); min-height: 1.6rem; }
svg.sample { width: 1.4rem; min-width: 1.4rem; height: .5rem; flex: none; }
button { font: inherit; color: inherit; background: var(--band); border: 1px solid var(--line); border-radius: .3rem;
         padding: .1rem .6rem; cursor: pointer; }
button[aria-pressed="true"] { border-color: var(--ink); font-weight: 600; }
"""


def page(comparison: Comparison) -> str:
    """The whole page as text."""
    parts = [
        f"<h1>{escape(comparison.title)}</h1>",
        f"<p>{escape(_summary(comparison))}</p>",
        "<h2>Adaptation to new tasks</h2>",
        f'<div class="beside">{_adaptation_figures(comparison)}{_numbers(cells(comparison))}'
        f"{_beside(way(comparison))}{_beside(better(comparison))}</div>",
        *([f"<p>{escape(advice(comparison))}</p>"] if advice(comparison) else []),
        "<h2>Training</h2>",
        _training_figures(comparison),
        "<h2>Throughput</h2>",
        _throughput(comparison),
        "<h2>Runs</h2>",
        _runs(comparison),
        explorer(comparison),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(comparison.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    )
    return head + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"


def _summary(comparison: Comparison) -> str:
    return "; ".join(f"{agent}: {counted(len(its), 'seed')}" for agent, its in comparison.runs.items()) + "."


def _figure(name: str, svg: str, caption: str) -> str:
    drawn = svg.replace("<svg", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
    return (
        f'<figure data-figure="{escape(name)}"><div class="scroll">{drawn}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _adaptation_figures(comparison: Comparison) -> str:
    if not comparison.supervised:
        caption = (
            "Return per episode on held-out tasks against episodes used on them; mean over seeds and tasks, 95 % "
            "interval over tasks, for these seeds."
        )
        return _figure("adaptation", figures.adaptation(comparison.rows), caption)
    what, points = ("Accuracy", "examples per class") if comparison.measure == "accuracy" else ("Error", "points")
    shown = [
        _figure(
            f"errors-{shots}",
            figures.errors(comparison.rows, shots, comparison.measure),
            f"{what} on held-out tasks given {shots} {points}, against inner steps; mean over seeds and "
            "tasks, 95 % interval over tasks, for these seeds.",
        )
        for shots in next(iter(comparison.rows.values()))[f"{comparison.measure}_mean"]
    ]
    return "".join(shown)


def _training_figures(comparison: Comparison) -> str:
    lines = {agent: [run.lines for run in its] for agent, its in comparison.runs.items()}
    unit, what = ("examples drawn", "minus the error") if comparison.supervised else ("environment steps", "return")
    note = "mean over seeds, shaded from the least to the greatest seed"
    shown = [
        _figure(
            name.replace("/", "-"),
            figures.learning(lines, name, f"{what} {when}", unit),
            f"{name}: {what} {when} on training tasks; {note}.",
        )
        for name, when in (("meta/post", "after adaptation"), ("meta/pre", "before adaptation"))
    ]
    return f'<div class="figures">{"".join(shown)}</div>'


def _throughput(comparison: Comparison) -> str:
    lines = {agent: [run.lines for run in its] for agent, its in comparison.runs.items()}
    unit = "examples" if comparison.supervised else "environment steps"
    svg = figures.learning(lines, "time/steps_per_second", f"{unit} per second", unit)
    caption = (
        f"time/steps_per_second: {unit} per second in training; mean over seeds, shaded from the least to the greatest seed."
    )
    rows = []
    for agent, its in comparison.runs.items():
        medians = [median for median in map(_speed, its) if median is not None]
        spread = f"{min(medians):,.0f} to {max(medians):,.0f}" if medians else NONE
        rows.append((agent, f"{statistics.mean(medians):,.0f}" if medians else NONE, spread))
    table = html(Table(("agent", f"{unit} per second (median of a run)", "seeds' range"), rows))
    return f'<div class="beside">{_figure("time-steps_per_second", svg, caption)}<div class="part scroll">{table}</div></div>'


def _speed(run: Run) -> float | None:
    values = [line["time/steps_per_second"] for line in run.lines if line.get("time/steps_per_second") is not None]
    return statistics.median(values) if values else None


def _numbers(table: Cells) -> str:
    notes = "".join(f"<li>{escape(name)}: {escape(meaning)}</li>" for name, meaning in table.notes.items())
    return f'<div class="part"><div class="scroll">{html(wide(table))}</div><ul>{notes}</ul></div>'


def _beside(table: Table | None) -> str:
    if table is None:
        return ""
    return f'<div class="part"><div class="scroll">{html(table)}</div><p>{escape(table.caption)}</p></div>'


def _runs(comparison: Comparison) -> str:
    runs = [run for its in comparison.runs.values() for run in its]
    settings = [{k: v for k, v in run.config["settings"].items() if k not in NAMED} for run in runs]
    names = [name for name in dict.fromkeys(k for s in settings for k in s) if len({repr(s.get(name)) for s in settings}) > 1]
    versions = [run.config.get("versions", {}) | {"python": run.config.get("python")} for run in runs]
    packages = list(dict.fromkeys(k for v in versions for k in v))
    varying = [name for name in packages if len({v.get(name) for v in versions}) > 1]
    rows = []
    for run, values, made_with in zip(runs, settings, versions, strict=True):
        last = run.lines[-1] if run.lines else {}
        rows.append(
            (
                run.result["agent"],
                str(run.result["seed"]),
                _pairs(values, names),
                str(last.get("iteration", 0)),
                f"{last.get('time/env_steps', 0):,}",
                number(last.get("time/seconds", 0.0)),
                _commit(run.config.get("git_commit")),
                _device(run.config.get("device") or {}),
                *([_pairs(made_with, varying)] if varying else []),
                str(run.folder),
            )
        )
    headings = ("agent", "seed", "settings that differ", "iterations", "env steps", "seconds", "git commit", "device")
    table = Table((*headings, *(["versions that differ"] if varying else []), "folder"), rows, words=(0, 2, 6, 7, 8, 9))
    same = {name: values for name, values in settings[0].items() if name not in names}
    shared = ", ".join(f"{name} {versions[0][name]}" for name in packages if name not in varying and versions[0][name])
    return (
        f'<div class="scroll">{html(table, wrap=(2,))}</div>\n'
        "<p>A commit ending in + means that the code had changes which were not committed.</p>"
        f"<p>The same for all runs: {escape(shared)}.</p><p>Settings: {escape(_pairs(same, list(same)))}.</p>"
    )


def _pairs(values: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name}={values.get(name)}" for name in names) or NONE


def _commit(commit: str | None) -> str:
    return NONE if not commit else commit[:10] + "+" * commit.endswith("+")


def _device(device: dict[str, Any]) -> str:
    return f"{device.get('count', 1)} x {device.get('kind', device.get('platform', NONE))}"
