"""Write the table of output formats in docs/metadata.md: python -m benchmarks.results.write_formats"""

from pathlib import Path

from benchmarks.marked import replace_marked
from promptcodec.picture.output_formats import table

if __name__ == "__main__":
    replace_marked(Path(__file__).resolve().parents[2] / "docs" / "metadata.md", "formats", "\n".join(table()))
