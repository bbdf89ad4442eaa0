"""The finished site: every link within it leads somewhere, and no page loads anything from elsewhere."""

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:  # the tests read this file where no Sphinx is
    from sphinx.application import Sphinx


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of HTMLParser."""
        given = dict(attrs)
        self.places |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag == "link" and given.get("rel") != "canonical" and given.get("href"):
            self.loads.append(str(given["href"]))
        if given.get("src"):
            self.loads.append(str(given["src"]))


def troubles(site: Path) -> list[str]:
    """One line for each link that leads nowhere and each thing from elsewhere, in the HTML files below a folder."""
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        found += [f"{path.relative_to(site.resolve())} loads {url}" for url in page.loads if urlsplit(url).netloc]
        for url in [*page.links, *page.loads]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.exists() or (place and target in pages and place not in pages[target].places):
                found.append(f"{path.relative_to(site.resolve())}: {url} leads nowhere")
    return found


def setup(app: "Sphinx") -> dict[str, bool]:
    """Called by Sphinx."""
    from sphinx.util import logging

    def check(app: "Sphinx", error: Exception | None) -> None:
        if error is None and app.builder.format == "html":
            for trouble in troubles(Path(app.outdir)):
                logging.getLogger(__name__).warning(trouble)

    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
