"""Pages that follow from the code: one per agent, per family and per module, and the command line.

They are written next to the pages by hand before Sphinx reads them, and git ignores them.
"""

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tests read this file where no Sphinx is
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent.parent
HOME = DOCS.parent
AGENT_NOTES, FOLDERS = DOCS / "_agents", ("agents", "families", "api", "commands")
MODULES = {
    "metarl": [
        "interfaces",
        "inner_loop",
        "rules",
        "meta",
        "outer",
        "trust_region",
        "surrogates",
        "advantages",
        "sampler",
        "trial",
        "ppo",
        "tasks",
        "gains",
    ],
    "envs": [
        "family",
        "registration",
        "task_lists",
        "task_files",
        "task_spaces",
        "families.regression",
        "from_gymnasium.family",
        "from_jax.family",
        "from_jax.gymnax",
        "from_jax.xland",
        "from_jax.brax",
        "from_jax.worlds",
        "to_gymnasium.task_env",
        "to_gymnasium.task_vector_env",
        "check",
        "drawing",
    ],
    "agents": ["agent", "build", "registration", "check", "parts.world", "parts.gradient_learner", "parts.trial_learner"],
    "experiments": [
        "training.without_folders",
        "evaluation.trained",
        "evaluation.actor",
        "evaluation.held_out",
        "evaluation.export",
        "evaluation.shipped",
    ],
}


def file_name(name: str) -> str:
    """Of an agent, as it can stand in an address.

    >>> file_name("maml++")
    'maml-plus-plus'
    """
    return name.replace("++", "-plus-plus")


def sources(cls: type) -> dict[str, str]:
    """Field of a dataclass -> the comment behind its default, in its own file or that of what it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        text = inspect.getsource(base)
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        }
        last, left = "", 0  # a comment may speak for the fields after its own: "as the next two", or be "the same"
        for node in ast.parse(text).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                comment = comments.get(node.lineno, "") or (last if left else "")
                left = max(left - 1, 0)
                if said := re.fullmatch(r"(.*), as the next( two| three)?", comment):
                    comment, left = said.group(1), {None: 1, " two": 2, " three": 3}[said.group(2)]
                last = comment = last if comment == "the same" else comment
                found[node.target.id] = comment
    return found


def cell(text: object) -> str:
    """Text as it can stand in a table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def table(header: list[str], rows: list[list[str]]) -> str:
    """Rows of finished cells as Markdown."""
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def table_rows(path: Path, first: str) -> tuple[list[str], list[list[str]]] | None:
    """Header and rows of the tables in a page whose first cell begins with a word, code font and daggers aside."""
    header, found = None, []
    for line in path.read_text().splitlines():
        cells = [part.strip() for part in line.strip("| ").split("|")]
        if not line.startswith("|"):
            header = None
            continue
        if header is None:
            header = cells
        elif re.split(r"[ <(†]", cells[0].strip("`"))[0].strip("`") == first:
            found.append((header, cells))
    return (found[0][0], [cells for head, cells in found if head == found[0][0]]) if found else None


def agent_page(name: str) -> str:
    """What an agent is, its equation and its use (by hand), its code, defaults and results."""
    from agents import find
    from agents.agent import hyperparameters

    agent = find(name)
    source = Path(inspect.getsourcefile(agent.make) or "")
    doc = inspect.getdoc(agent.make) or ""
    own = sources(agent.hyperparameters)
    rows: dict[str, list[str]] = {}
    for kind in agent.serves:
        for field in hyperparameters(agent, kind).values():
            row = [f"`{field.name}`", f"`{field.default}`", cell(field.help), cell(own.get(field.name, "")) or "not noted"]
            rows.setdefault(field.name, [*row, ""])
            rows[field.name][4] = f"{rows[field.name][4]}, {kind}".strip(", ")
    every, file = ", ".join(agent.serves), source.relative_to(HOME)
    adapts = "nothing: its curve is flat" if agent.adapts_by == "nothing" else agent.adapts_by
    for row in rows.values():
        row[4] = "both" if row[4] == every and len(agent.serves) == 2 else row[4]
    columns = 5 if len(agent.serves) == 2 else 4
    uses = ", ".join(f"`{part}`" for part in agent.uses) or "none"
    parts = [
        f"# {name}",
        doc.split("\n\n")[0],
        (AGENT_NOTES / f"{file_name(name)}.md").read_text() if (AGENT_NOTES / f"{file_name(name)}.md").is_file() else "",
        "## At a glance",
        table(
            ["what", "of this agent"],
            [
                ["serves", every],
                [
                    "gets from 0 to K adaptation steps by",
                    adapts,
                ],
                ["optional parts it takes", uses],
                ["training may go on beyond its plan", "yes" if agent.extendable else "no: something is annealed over it"],
                ["its outer update mixes tasks", "yes" if agent.mixes_tasks else "no"],
            ],
        ),
        "## Defaults and their sources",
        table(["setting", "default", "what it is", "source", "in"][:columns], [row[:columns] for row in rows.values()])
        if rows
        else "It has none of its own.",
        "Settings that all agents share: {doc}`../api/agents.agent`. On the task families of this repository defaults may be"
        " others: see the page of the family.",
        "## The code",
        f"The whole of `{file}`:\n\n```{{literalinclude}} ../../{file}\n:language: python\n```",
        "## What it reached here",
        results_of(name),
    ]
    return "\n\n".join(part for part in parts if part)


def results_of(name: str) -> str:
    """The agent's rows of the committed tables."""
    parts = []
    for file, what in (
        ("navigation.md", "Return per episode on 100 held-out goals of 2D navigation, {doc}`../results`"),
        ("sinusoid_table.md", "Mean squared error on held-out sinusoids, {doc}`../results`; † marks heavy tails"),
        ("bandits.md", "Total reward on held-out Bernoulli bandits, printed numbers in brackets, {doc}`../results`"),
    ):
        rows = table_rows(DOCS / file, name)
        if rows:
            parts.append(f"{what}:\n\n{table(*rows)}")
    return "\n\n".join(parts) or "It has no row in the committed tables."


def family_page(id: str) -> str:
    """What a family's docstring and declaration say."""
    import envs

    where = envs.FAMILIES[id]
    module, _, name = where.partition(":")
    cls = getattr(importlib.import_module(module), name)
    title, *rest = (inspect.getdoc(cls) or "").split("\n\n")
    told = [f"# {id.removeprefix('metarl/').removesuffix('-v0')}", f"`{id}`", title, *rest]
    spaces = []
    try:
        family = envs.make(id)
        spaces = [
            ["observation", f"`{family.observation_space}`"],
            ["action", f"`{family.action_space}`"],
            ["horizon", f"{family.horizon} steps"],
            ["task", f"`{cell(family.task_space)}`"] if family.task_space is not None else ["task", "any of the right shapes"],
            ["measures beside the return", ", ".join(f"`{each}`" for each in family.measures) or "none"],
            ["has functions outside the compiled program", "yes" if family.calls_host else "no"],
        ]
    except Exception as error:  # an extra that is not installed
        spaces = [["spaces", f"need an extra: {cell(error)}"]]
    settings = [
        [whom, ", ".join(f"`{key}={value}`" for key, value in values.items())] for whom, values in cls.training_settings.items()
    ]
    told += ["## Spaces and task", table(["what", "of this family"], spaces)]
    told += ["## Settings of agents here"]
    told += [
        "What `train` sets where you do not, for all agents (`any`), for those that adapt alike, or for one. Sources, in the"
        " comments of `envs/families/training.py`:\n\n" + table(["for", "settings"], settings)
        if settings
        else "None: agents have their own defaults."
    ]
    told += [f"```bash\npython -m experiments.train --env {id} --agent maml --run-dir runs/one\npython -m envs.check {id}\n```"]
    rows = table_rows(DOCS / "families.md", id)
    told += ["## What was reached here"]
    told += [f"{{doc}}`../results` says how it was measured.\n\n{table(*rows)}" if rows else "No row in the committed table."]
    told += [
        f"## The code\n\n```{{literalinclude}} ../../{module.replace('.', '/')}.py\n:language: python\n:pyobject: {name}\n```"
    ]
    return "\n\n".join(told)


def command_page(command: str, what: str) -> str:
    """A command and what ``--help`` prints."""
    from experiments.cli.main import _main_of

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        _main_of(command)(["--help"])
    text = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).splitlines())
    text = text.replace(str(Path.home()), "~")
    return f"# {command}\n\n{what[0].upper()}{what[1:]}.\n\n```text\n$ metarl {command} --help\n{text}\n```"


def index(title: str, text: str, pages: list[str], rows: list[list[str]] | None = None, header: list[str] | None = None) -> str:
    """A page that lists others."""
    tree = "```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```"
    return "\n\n".join([f"# {title}", text, *([table(header or [], rows)] if rows else []), tree])


def pages() -> dict[str, str]:
    """Path in docs/ -> content."""
    import agents
    import envs
    from experiments.cli.main import COMMANDS

    os.environ.update(COLUMNS="110", NO_COLOR="1", TERM="dumb")
    found = {f"agents/{file_name(name)}.md": agent_page(name) for name in agents.AGENTS}
    rows = []
    for name in agents.AGENTS:
        agent = agents.find(name)
        first = cell((inspect.getdoc(agent.make) or "").splitlines()[0])
        rows.append([f"[{name}]({file_name(name)}.md)", first, " and ".join(agent.serves), agent.adapts_by])
    text, header = (AGENT_NOTES / "index.md").read_text(), ["agent", "what it is", "for", "adapts by"]
    found["agents/index.md"] = index("Agents", text, [file_name(name) for name in agents.AGENTS], rows, header)

    short = {id: id.removeprefix("metarl/").removesuffix("-v0") for id in envs.FAMILIES}
    found |= {f"families/{short[id]}.md": family_page(id) for id in envs.FAMILIES}
    rows = []
    for id, where in envs.FAMILIES.items():
        module, _, name = where.partition(":")
        first = (inspect.getdoc(getattr(importlib.import_module(module), name)) or "").splitlines()[0]
        rows.append([f"[{short[id]}]({short[id]}.md)", cell(first)])
    text = (
        "Distributions over tasks that come with metarl. Each is one file that states task, observation, action, reward, end,"
        " horizon and source."
    )
    found["families/index.md"] = index("Task families", text, list(short.values()), rows, ["family", "what it is"])

    found |= {f"commands/{name.replace('.', '-')}.md": command_page(name, what) for name, what in COMMANDS.items()}
    rows = [[f"[{name}]({name.replace('.', '-')}.md)", cell(what)] for name, what in COMMANDS.items()]
    text = (
        "`metarl train` and `python -m experiments.train` are one command; so it is with all of these. What follows is what"
        " `--help` prints. `metarl train --agent NAME --env ID --help` shows the flags of that agent with the defaults of that"
        " family."
    )
    found["commands/index.md"] = index(
        "The command line", text, [name.replace(".", "-") for name in COMMANDS], rows, ["command", "what it does"]
    )

    listed = []
    for room, modules in MODULES.items():
        for module in modules:
            dotted = f"{room}.{module}"
            first = (inspect.getdoc(importlib.import_module(dotted)) or "").splitlines()[0]
            listed.append([f"[{dotted}]({dotted}.md)", cell(first)])
            found[f"api/{dotted}.md"] = f"# {dotted}\n\n```{{eval-rst}}\n.. automodule:: {dotted}\n   :members:\n```"
    exported = []
    for room in ("metarl", "envs", "agents"):
        package = importlib.import_module(room)
        exported.append(f"`{room}`: " + ", ".join(f"`{name}`" for name in package.__all__ if not name.startswith("__")))
    text = "Made from docstrings. Public names of the packages:\n\n- " + "\n- ".join(exported) + "\n\nand where they are:"
    found["api/index.md"] = index(
        "API", text, [row[0].split("]")[0][1:] for row in listed], listed, ["module", "what is in it"]
    )
    return found


def write(app: "Sphinx") -> None:
    """Write what changed, and remove what there no longer is."""
    made = pages()
    for folder in FOLDERS:
        (DOCS / folder).mkdir(exist_ok=True)
        for path in (DOCS / folder).glob("*.md"):
            if f"{folder}/{path.name}" not in made:
                path.unlink()
    for name, content in made.items():
        path = DOCS / name
        if not path.is_file() or path.read_text() != content + "\n":
            path.write_text(content + "\n")


def setup(app: "Sphinx") -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("config-inited", lambda app, config: write(app))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
