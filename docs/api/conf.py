"""Sphinx settings of the API pages: `make api`."""

import moda_core

project = "MODA orchestrator"
version = release = moda_core.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "literal"  # single backticks, as in Markdown
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 100
suppress_warnings = ["ref.python"]  # attributes that are called as a built-in type is, which signatures name
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "240px", "font_size": "15px"}
html_sidebars = {"**": ["about.html", "localtoc.html", "searchbox.html"]}
html_show_copyright = False
