"""Places in pages that commands write: between ``<!-- name -->`` and ``<!-- /name -->``."""

from pathlib import Path


def replace_marked(page: Path, name: str, text: str) -> None:
    """Put ``text`` in place of what stands between the two markers called ``name``. Raises ValueError without them."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = page.read_text().split(start)
    _, after = rest.split(end)
    page.write_text(f"{before}{start}{text}\n{end}{after}")
