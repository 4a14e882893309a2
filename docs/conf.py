"""Configuration of the documentation site: ``sphinx-build -W docs docs/_build``, with the extra ``docs``."""

from promptcodec import __version__

project = "promptcodec"
author = "The promptcodec developers"
copyright = "the promptcodec developers; Apache-2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "promptcodec"
html_static_path: list[str] = []

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
# Links to files of the repository that are no pages lead to where it is read.
myst_url_schemes = ("http", "https", "mailto")

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings write code in double backticks, and names in single ones

suppress_warnings = ["myst.xref_missing"]  # links from a page to a source file
nitpicky = False
