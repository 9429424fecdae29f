"""How Sphinx builds the site; the command stands in ``development/contributing.md``."""

import inspect
import os
import urllib.request
from importlib.metadata import metadata

from docutils import nodes
from docutils.utils.math.latex2mathml import MathError, tex2mathml
from sphinx.util.logging import getLogger

os.environ.setdefault("MPLBACKEND", "agg")
# A bar rewrites its line; on the page of an example each version would be a line.
os.environ["TQDM_DISABLE"] = "1"

facts = metadata("sksiamese")
project = "sksiamese"
author = facts["Author"]
project_copyright = f"2026, {author}"
version = release = facts["Version"]

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
root_doc = "index"

# -- Pages ---------------------------------------------------------------------------
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Formulas are MathML, which browsers draw without a script from elsewhere.
html_math_renderer = "mathml"

# -- Docstrings ----------------------------------------------------------------------
autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_member_order = "groupwise"
# The page of a class lists its methods itself.
numpydoc_show_class_members = False
# Of long signatures each parameter has a line.
maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

# -- Other packages' pages -----------------------------------------------------------
INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "imblearn": "https://imbalanced-learn.org/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
}


def is_reachable(address):
    """Tell whether an inventory can be fetched, so that builds work offline."""
    try:
        with urllib.request.urlopen(f"{address}objects.inv", timeout=5):
            return True
    except OSError:
        return False


# An inventory out of reach is a warning to Sphinx, and warnings end the build.
intersphinx_mapping = {
    name: (address, None)
    for name, address in INVENTORIES.items()
    if is_reachable(address)
}

# -- Gallery -------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"plot_\d\d_",
    "doc_module": ("sksiamese",),
    "backreferences_dir": "api/backreferences",
    "reference_url": {"sksiamese": None},
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    # That page would load scripts from elsewhere.
    "write_computation_times": False,
}

# -- Looks ---------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"sksiamese {version}"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Without it the theme reports an error on a reader's first page.
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_theme_options = {
    "logo": {
        "text": "sksiamese",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
        "alt_text": "",
    },
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
# Pages that are alone in their section.
html_sidebars = dict.fromkeys(
    ("index", "install", "quickstart", "glossary", "comparison", "changelog"), []
)
# Prompts and outputs are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# Neither is what an example printed.
copybutton_selector = "div:not(.sphx-glr-script-out) > div.highlight > pre"


def skip_foreign_member(app, what, name, obj, skip, options):
    """Leave members that other packages define to their own pages."""
    function = inspect.unwrap(getattr(obj, "fget", None) or obj)
    # Methods of built-in types name their class instead of a module.
    owner = getattr(function, "__objclass__", function)
    module = getattr(owner, "__module__", None) or "sksiamese"
    generated = name.startswith("set_") and name.endswith("_request")
    return skip or generated or not module.startswith("sksiamese")


def trim_blocks(app, doctree):
    """Drop the empty last line that doctests need before the end of a block."""
    for block in doctree.findall(nodes.literal_block):
        if block.rawsource == block.astext():  # else it is no code to be highlighted
            block.rawsource = block.rawsource.rstrip("\n")
            block[:] = [nodes.Text(block.rawsource)]


def visit_math(translator, node):
    """Write a formula as MathML."""
    is_block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=is_block)
    except MathError as error:
        getLogger(__name__).warning("%s", error, location=node)
        raise nodes.SkipNode from error
    if is_block:
        formula = f'<div class="formula">{formula}</div>\n'
    translator.body.append(formula)
    raise nodes.SkipNode


def setup(app):
    """Connect what is above with Sphinx."""
    app.connect("doctree-read", trim_blocks)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("autodoc-skip-member", skip_foreign_member)
