"""The documentation: every page is in a table of contents, and every link inside the repository leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FOLDERS = (".github", "benchmarks", "docs", "examples", "fuzz", "recipes", "src", "tests", "training")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
PAGES = [page for page in PAGES if "_build" not in page.parts]


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = re.findall(r"^```\{toctree\}\n(.*?)^```", (DOCS / "index.md").read_text(encoding="utf-8"), re.M | re.S)
    names = [line for block in listed for line in block.splitlines() if line and not line.startswith(":")]
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    assert sorted(names) == sorted(pages - {"index"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_anchors(page: Path) -> None:
    dead = [link for link in links(page.read_text(encoding="utf-8")) if not leads_somewhere(page, link)]
    assert not dead, f"dead links in {page.relative_to(ROOT)}: {dead}"


@pytest.mark.parametrize("link", ["nowhere.md", "index.md#nowhere", "#nowhere"])
def test_dead_links_are_noticed(link: str) -> None:
    assert links(f"[text]({link})") == [link]
    assert not leads_somewhere(DOCS / "index.md", link)


def links(markdown: str) -> list[str]:
    """The targets of links and pictures outside of code that lie in this repository."""
    prose = re.sub(r"^( *)(```+|~~~+).*?^\1\2 *$|`[^`\n]*`", "", markdown, flags=re.M | re.S)
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", prose) + re.findall(r"<img[^>]+src=\"([^\"]+)", prose)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether the file exists, and has a heading or an explicit target of the anchor's name."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target.read_text(encoding="utf-8"))


def anchors(markdown: str) -> set[str]:
    """Anchors as GitHub and MyST derive them from headings, and explicit ones: ``(name)=`` and ``<a id="name">``."""
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S)
    names = re.findall(r"^\(([\w-]+)\)=$", prose, re.M) + re.findall(r"<a (?:id|name)=\"([^\"]+)", prose)
    seen: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", prose, re.M):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = seen[slug] = seen.get(slug, -1) + 1
        names.append(f"{slug}-{count}" if count else slug)
    return set(names)
