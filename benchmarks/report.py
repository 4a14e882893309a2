"""Render packed results into a Markdown page: tables, BD-rates and figures, each with the command that makes it.

python -m benchmarks.report benchmarks/results/eval -o docs/results.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from promptcodec.errors import PromptcodecError
from promptcodec.evaluate.pages.page import render


def main() -> int:
    """Parse the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of packed results (.json)")
    parser.add_argument("-o", "--output", type=Path, default=Path("results.md"), help="the page; figures go beside it")
    parser.add_argument("--no-figures", action="store_true", help="write the page alone")
    arguments = parser.parse_args()
    try:
        written = render(arguments.folder, arguments.output, not arguments.no_figures)
    except PromptcodecError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
