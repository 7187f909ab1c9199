import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from besana import __version__  # after the path

project = "besana"
author = "The besana authors"
copyright = author  # the name is Sphinx's
release = version = __version__
extensions = ["myst_parser", "generated"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "besana"
html_show_sphinx = False
html_copy_source = False
# Nothing is fetched from anywhere: a farm may have no network.
html_theme_options = {"light_css_variables": {"color-brand-primary": "#2f6f4f"}}
