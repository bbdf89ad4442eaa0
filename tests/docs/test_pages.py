"""The site: that its pages are whole. Running every page is slow; building it is ``make docs``."""

import ast
import importlib
import re
import subprocess
import sys

import pytest

import agents
import envs
from envs.families import training
from envs.families.navigation import Navigation2D
from tests.docs.pages import DOCS, cells, executed

HOME = DOCS.parent
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_agents" not in path.parts)
WRITTEN = [path for path in PAGES if path.relative_to(DOCS).parts[0] not in ("agents", "families", "api", "commands")]
LESSONS = sorted((DOCS / "learn").glob("[0-9]*.md"))


def extension(name):
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def generated():
    return extension("generated_pages")


def documents():
    """Names of pages as others refer to them, of those that are written by hand and those that are generated."""
    made = generated()
    named = {str(path.relative_to(DOCS).with_suffix("")) for path in WRITTEN}
    named |= {f"agents/{made.file_name(name)}" for name in agents.AGENTS} | {f"{room}/index" for room in made.FOLDERS}
    named |= {f"families/{id.removeprefix('metarl/').removesuffix('-v0')}" for id in envs.FAMILIES}
    return named | {f"api/{room}.{module}" for room, modules in made.MODULES.items() for module in modules}


def test_the_course_is_whole():
    assert [path.name[:2] for path in LESSONS] == [f"{number:02d}" for number in range(1, 17)]
    listed = re.findall(r"^\d\d-[\w-]+$", (DOCS / "learn/index.md").read_text(), re.MULTILINE)
    assert listed == [path.stem for path in LESSONS]


@pytest.mark.parametrize("page", executed(), ids=lambda page: page.stem)
def test_cells_parse_and_import_what_there_is(page):
    assert cells(page), "an executed page has cells"
    for cell in cells(page):
        for node in ast.walk(ast.parse(cell.code)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.stem)
def test_a_lesson_ends_with_an_exercise_whose_answer_is_hidden_and_checked(page):
    assert "## Exercise" in page.read_text().split("```{code-cell}")[-2]
    last = cells(page)[-1]
    assert "hide-cell" in last.options and any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(last.code)))


def test_every_agent_has_its_equation():
    made = generated()
    for name in agents.AGENTS:
        notes = (DOCS / "_agents" / f"{made.file_name(name)}.md").read_text()
        assert "$" in notes and "When to use it" in notes, name


def test_a_page_of_an_agent_shows_its_code_its_defaults_with_sources_and_its_rows():
    page = generated().agent_page("promp")
    assert "literalinclude} ../../agents/promp.py" in page and "Eq. 7" in page
    [clip] = [line for line in page.splitlines() if line.startswith("| `clip`")]
    assert "`0.3`" in clip and "ProMP's code" in clip, "of the comment two lines above: as the next two"
    assert "| promp | 3 |" in page


def test_a_page_of_a_family_shows_its_spaces_settings_and_row(monkeypatch):
    monkeypatch.setattr(Navigation2D, "training_settings", training.NAVIGATION)  # tests of experiments take them away
    page = generated().family_page("metarl/Navigation2D-v0")
    assert "Finn et al. 2017" in page and "`initial_std=0.7`" in page and "-40.41" in page


def test_what_pages_refer_to_is_there():
    known = documents()
    for page in [*WRITTEN, *(DOCS / "_agents").glob("*.md")]:
        folder = "agents" if page.parent.name == "_agents" else str(page.parent.relative_to(DOCS))
        for name in re.findall(r"\{doc\}`([^`<]+)`", page.read_text()):
            parts: list[str] = [] if folder == "." else folder.split("/")
            for part in name.split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            assert "/".join(parts) in known, f"{page.name}: {name}"


def test_what_pages_include_is_there():
    for page in WRITTEN:
        for target, options in re.findall(r"^```\{(?:literal)?include\} (\S+)\n((?::.*\n)*)", page.read_text(), re.MULTILINE):
            source = (page.parent / target).resolve()
            assert source.is_file(), f"{page.name}: {target}"
            ends = [re.search(rf"^:{option}: (.*)$", options, re.MULTILINE) for option in ("start-after", "end-before")]
            texts = [end.group(1).strip('"') for end in ends if end]
            places = [source.read_text().find(text) for text in texts]
            assert -1 not in places, f"{page.name}: {texts} of {target}"
            assert places == sorted(places), f"{page.name}: {texts} are in the wrong order"


def test_pages_show_pictures_that_there_are():
    for page in WRITTEN:
        for target in re.findall(r"^```\{image\} (\S+)|^!\[[^]]*\]\(([^)]+)\)", page.read_text(), re.MULTILINE):
            assert (page.parent / "".join(target)).resolve().is_file(), f"{page.name}: {target}"


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="here"></h1><a href="b.html#there">b</a><a href="#here">a</a><img src="x.png">')
    (tmp_path / "b.html").write_text('<p id="there"></p><a href="c.html">c</a><script src="https://cdn.org/x.js"></script>')
    (tmp_path / "x.png").write_text("")
    assert extension("links").troubles(tmp_path) == ["b.html loads https://cdn.org/x.js", "b.html: c.html leads nowhere"]
    (tmp_path / "b.html").write_text("")
    assert extension("links").troubles(tmp_path) == ["a.html: b.html#there leads nowhere"]


@pytest.mark.slow
@pytest.mark.parametrize("page", executed(), ids=lambda page: page.stem)
def test_pages_run(page):
    done = subprocess.run([sys.executable, HOME / "tests/docs/run_page.py", page], cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
