"""Places in pages that commands write: between ``<!-- name -->`` and ``<!-- /name -->``."""

from pathlib import Path


def replace_marked(page: Path, name: str, text: str) -> None:
    """Put ``text`` in place of what stands between the two markers called ``name``. Raises ValueError without them."""
    before, after = split_marked(page, name)
    page.write_text(f"{before}{text}\n{after}")


def split_marked(page: Path, name: str) -> tuple[str, str]:
    """Return what stands before and after the place called ``name``, with its markers.

    Raises ValueError without them: before a command measures for hours.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    parts = page.read_text().split(start)
    rest = parts[-1].split(end)
    if len(parts) != 2 or len(rest) != 2:
        raise ValueError(f"{page} has no place called {name}: add the lines <!-- {name} --> and <!-- /{name} --> once")
    return parts[0] + start, end + rest[1]
