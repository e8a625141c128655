"""How the documentation is built: `make docs`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE / "_extensions"), str(HERE.parent)]
# Cells call the command `mollifier`, in plain text.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["COLUMNS"] = "110"
os.environ["PYTHONPATH"] = os.pathsep.join(
    [*os.environ.get("PYTHONPATH", "").split(os.pathsep), *sys.path[-2:]]
)

from mollifier import __version__  # noqa: E402

project = "mollifier"
author = "The mollifier developers"
version = release = __version__

extensions = [
    "sphinx_design",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated",
]
exclude_patterns = ["_extensions"]

# Pages with code cells run at build; a cell that fails, or takes too long, fails the build.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "out" / "docs-cache")
nb_execution_timeout = 300  # the longest cell takes a minute, a few times that beside other work
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

default_role = "py:obj"
smartquotes = False  # options begin with two hyphens
autodoc_typehints = "none"  # the docstrings hold types where a reader needs them
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"mollifier {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": f"mollifier {version}"},
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_nav_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
copyright = "The mollifier developers; Apache License 2.0"
