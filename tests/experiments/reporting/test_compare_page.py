"""Comparisons of agents that adapt in different ways, and the HTML page that holds them."""

import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from experiments import compare, dashboard
from experiments.reporting.comparison import gather
from experiments.reporting.looks import LOOKS
from experiments.reporting.svg import on_one_grid, series
from tests.browser import CHROMIUM, Browser
from tests.experiments.reporting.comparable import ENV, write_run

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Three kinds of agents side by side: (folder of runs, folder of results, returns of maml's seeds)."""
    folder = tmp_path_factory.mktemp("kinds")
    runs, out = folder / "runs", folder / "out"
    returns = [write_run(runs / f"maml-{seed}", "maml", seed, hurt=2 * seed, outer_lr=0.1) for seed in range(2)]
    write_run(runs / "rl2", "rl2", 0, adapts_by="memory", outer_lr=0.2)
    write_run(runs / "oracle", "oracle", 0, adapts_by="nothing", outer_lr=0.1)
    compare.main([str(runs), "--out", str(out), "--html"])
    return runs, out, returns


def test_each_kind_is_shown_at_its_own_episodes(compared, tmp_path, capsys):
    runs, out, returns = compared
    rows = json.loads((out / "table.json").read_text())["agents"]
    assert [rows[agent]["episodes"] for agent in ("maml", "rl2", "oracle")] == [[0, 20, 40], [0, 1, 2], [0, 0, 0]]
    np.testing.assert_allclose(rows["maml"]["seed_means"], [r.mean(axis=0) for r in returns])
    np.testing.assert_allclose(rows["maml"]["seed_spread"], abs(np.subtract(*rows["maml"]["seed_means"])) / np.sqrt(2))
    assert rows["maml"]["hurt"] == 2 / 16 and rows["maml"]["hurt_by_step"][0] == 0 and rows["rl2"]["hurt"] == 0
    assert rows["maml"]["hurt_ci95"][0] < 2 / 16 < rows["maml"]["hurt_ci95"][1]
    low, high = rows["maml"]["algorithm_ci95"][-1]
    assert low < rows["maml"]["return_ci95"][-1][0] and high > rows["maml"]["return_ci95"][-1][1]
    assert rows["rl2"]["algorithm_ci95"] is None
    np.testing.assert_allclose(rows["rl2"]["greedy_mean"], np.add(rows["rl2"]["return_mean"], 1))
    assert rows["maml"]["greedy_mean"] is None and rows["rl2"]["seed_spread"] is None
    compare.main([str(runs), "--out", str(tmp_path)])
    lines = capsys.readouterr().out.split("wrote ")[0].splitlines()
    assert max(map(len, lines)) <= 80 and any("maml (2)" in line and "-" in line for line in lines)


def test_tasks_that_some_run_lost_count_in_none(tmp_path):
    """Each evaluation leaves out the tasks whose returns were not finite there; rows are of the same tasks only without all."""
    whole = {agent: write_run(tmp_path / agent, agent, 0) for agent in ("maml", "fomaml")}
    whole["fomaml"] = whole["fomaml"] - 7
    for agent, lost in (("maml", [2]), ("fomaml", [2, 5])):
        path = tmp_path / agent / "evaluation.json"
        kept = np.delete(whole[agent], lost, axis=0).tolist()
        result = json.loads(path.read_text()) | {"returns": kept, "num_tasks": len(kept), "not_finite": lost}
        path.write_text(json.dumps(result | {"gain_se": np.ones_like(kept).tolist()}))
    comparison = gather((tmp_path,))
    for agent in whole:
        mean = np.delete(whole[agent], [2, 5], axis=0).mean(axis=0)
        np.testing.assert_allclose(comparison.rows[agent]["return_mean"], mean)
    assert "6 held-out tasks" in comparison.title and "2 more" in comparison.title


def test_a_page_of_an_earlier_comparison_does_not_stay(tmp_path):
    write_run(tmp_path / "runs/maml", "maml", 0)
    compare.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--html"])
    compare.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out/comparison.html").exists() and (tmp_path / "out/table.md").exists()


def test_budgets_must_agree_among_agents_of_one_kind_and_within_an_agent(tmp_path, error_of):
    write_run(tmp_path / "maml", "maml", 0)
    write_run(tmp_path / "other", "fomaml", 0)
    path = tmp_path / "other/evaluation.json"
    result = json.loads(path.read_text())
    for agent, change, expected in (
        ("fomaml", {"episodes": [0, 10, 20]}, "episode budgets"),
        ("maml", {"adapts_by": "memory", "episodes": [0, 1, 2], "seed": 1}, "ways of adapting"),
        ("maml", {"step_scale": [1.0, 0.5], "seed": 1}, "step-size schedules"),
        ("rl2", {"adapts_by": "memory", "task_hash": "other"}, "task_hash"),
    ):
        path.write_text(json.dumps(result | {"agent": agent} | change))
        assert expected in error_of(compare.main, tmp_path, "--out", tmp_path / "out")
    path.write_text(json.dumps({k: v for k, v in result.items() if k != "adapts_by"}))
    assert set(gather((tmp_path,)).rows) == {"maml", "fomaml"}, "without the field: by gradients"


class Page(HTMLParser):
    """Links, cells of tables, and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.cells, self.text, self._open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "data", "srcset", "action")]
        self._open.append(tag)
        assert tag not in ("link", "iframe", "img", "object", "embed", "worlds")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        self.text.append(data)
        if "td" in self._open:
            self.cells.append(data)


@pytest.fixture(scope="module")
def page(compared):
    return (compared[1] / "comparison.html").read_text()


def test_the_page_needs_nothing_from_elsewhere(page):
    parsed = Page(page)
    assert all(link.startswith("#") for link in parsed.links)
    assert set(re.findall(r"""\w*://[^"' ]*""", page)) == {"http://www.w3.org/2000/svg"}, "the name of a language"
    assert not re.findall(r"@import|\bsrc=|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\(", page)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert set(link[1:] for link in parsed.links) <= set(ids)


def test_the_page_holds_the_numbers_and_curves_of_all_agents(page, compared):
    parsed = Page(page)
    rows = json.loads((compared[1] / "table.json").read_text())["agents"]
    for agent in ("maml", "rl2", "oracle"):
        assert agent in parsed.cells
        for mean, (low, high) in zip(rows[agent]["return_mean"], rows[agent]["return_ci95"], strict=True):
            assert f"{mean:.2f}" in parsed.cells and f"[{low:.2f}, {high:.2f}]" in parsed.cells
    for text in ("outer_lr=0.1", "outer_lr=0.2", "0123456789+", "1 x cpu", "2,020"):
        assert text in parsed.cells, text
    assert ENV in "".join(parsed.text), "escaped, not lost"
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(pictures) == 4  # adaptation, return after and before adaptation, throughput
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        for index in range(3):
            (curve,) = [node for node in root.iter("g") if node.get("id", "").endswith(f"curve-{index}")]
            assert len(curve.find("path").get("d").split()) > 3
        assert {"maml", "rl2", "oracle"} <= {label.split(",")[0] for label in map(str.strip, root.itertext())}


def test_curves_of_seeds_are_averaged_where_all_of_them_have_been():
    rows = [{"time/env_steps": step, "m": 2.0 * step} for step in range(1000)]
    steps, values = series(rows, "m")
    np.testing.assert_allclose(values, 2 * steps)
    assert len(steps) == 150 and series(rows, "other") is None
    grid, both = on_one_grid([(steps, values), (steps[:75], values[:75] + 10)])
    assert grid[-1] == steps[74]
    np.testing.assert_allclose(both, [2 * grid, 2 * grid + 10])


@needs_chromium
@pytest.mark.parametrize("width", [1200, 480])
def test_a_browser_without_network_draws_the_curves(compared, tmp_path, width):
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", *quiet]
    command += [f"--user-data-dir={tmp_path / 'user'}", f"--window-size={width},1200", f"--screenshot={tmp_path / 'shot.png'}"]
    subprocess.run([*command, f"file://{compared[1] / 'comparison.html'}"], check=True, capture_output=True, timeout=120)
    pixels = imread(tmp_path / "shot.png")[..., :3]
    for agent in ("maml", "rl2"):
        colour = [int(LOOKS[agent].colour[i : i + 2], 16) for i in (1, 3, 5)]
        near = np.abs(pixels * 255 - colour).max(axis=-1) < 30
        assert near.sum() > 100, agent


@needs_chromium
def test_the_reader_chooses_agents_and_axes_and_reads_values(tmp_path):
    """Of eight agents six are shown at first, the best; what the page says under the pointer is what table.json says."""
    names = ("maml", "fomaml", "reptile", "anil", "cavia", "promp", "e-maml", "oracle")
    for seed, name in enumerate(names):
        write_run(tmp_path / "runs" / name, name, seed, adapts_by="nothing" if name == "oracle" else "gradient")
    compare.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--html"])
    rows = json.loads((tmp_path / "out/table.json").read_text())["agents"]
    best = sorted(names, key=lambda name: -rows[name]["return_mean"][-1])
    adaptation = "document.querySelector('figure[data-figure=adaptation]')"
    lines = f"[...{adaptation}.querySelectorAll('path[data-agent]')].map((line) => line.dataset.agent)"
    browser = Browser(tmp_path / "user")
    try:
        browser.open(f"file://{tmp_path / 'out/comparison.html'}")
        assert browser.run(lines) == best[:6]
        browser.click(f"input[value={best[0]}]")
        browser.click(f"input[value={best[7]}]")
        assert browser.run(lines) == [*best[1:6], best[7]]
        browser.run(f"{adaptation}.querySelector('svg').focus()")
        browser.key("ArrowRight", 39)
        browser.key("ArrowRight", 39)
        said = browser.run(f"{adaptation}.querySelector('.said').textContent").replace("\u2212", "-")
        for name in (*best[1:6], best[7]):
            k = 0 if name == "oracle" else 1
            mean, (low, high) = rows[name]["return_mean"][k], rows[name]["return_ci95"][k]
            assert f"{name} {mean:.4g} [{low:.4g}, {high:.4g}]" in said
            assert name == "oracle" or f"{high:.4g}] at 20" in said
        speed = "document.querySelector('figure[data-figure=time-steps_per_second]')"
        labels = f"[...{speed}.querySelectorAll('svg text')].map((label) => label.textContent).join(' ')"
        heights = f"{speed}.querySelector('path[data-agent]').getAttribute('d')"
        before = browser.run(labels), browser.run(heights)
        browser.run(f"{speed}.querySelector('.choices button').click()")
        assert browser.run(heights) != before[1], "the axis is logarithmic"
        assert not browser.complaints and all(address.startswith("file://") for address in browser.requests)
    finally:
        browser.close()


def test_the_saved_view_has_the_sections_and_groups():
    view = dashboard.workspace("someone", "metarl", ["outer_lr"])._to_model().model_dump(by_alias=True, exclude_none=True)
    section = view["spec"]["section"]
    panels = {bank["name"]: [panel["config"] for panel in bank["panels"]] for bank in section["panelBankConfig"]["sections"]}
    assert list(panels) == ["Learning curves", "Adaptation to held-out tasks", "Throughput", "Runs"]
    lines = [config for configs in panels.values() for config in configs if "xAxis" in config]
    x_of = {config["metrics"][0]: config["xAxis"] for config in lines}
    assert x_of["meta/post"] == x_of["time/steps_per_second"] == "time/env_steps" and x_of["eval/return"] == "eval/episodes"
    for config in lines:
        assert (config["groupBy"], config["groupAgg"], config["groupArea"]) == ("group", "mean", "minmax")
    (runs,) = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["group", "jobType"]
    assert {"config:outer_lr", "config:seed", "summary:eval/post"} <= set(runs["runFeed"]["columnPinned"])


def test_without_an_account_the_dashboard_is_a_page(compared, tmp_path, monkeypatch, capsys):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    dashboard.main([str(compared[0]), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "no wandb account" in said
    assert (tmp_path / "out/comparison.html").read_text() == (compared[1] / "comparison.html").read_text()


def test_a_view_that_cannot_be_saved_is_a_page_and_one_line(compared, tmp_path, monkeypatch, error_of):
    monkeypatch.setattr(dashboard.wandb_upload, "_server", lambda: "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert "cannot be reached" in error_of(dashboard.main, compared[0], "--out", tmp_path / "out")
    assert (tmp_path / "out/comparison.html").is_file()
