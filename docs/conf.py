"""How the site is built: Sphinx with MyST text notebooks. ``make docs``."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

# Pages are run on a CPU, without an account, in a process of their own that inherits this.
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
os.environ.update(JAX_PLATFORMS="cpu", WANDB_MODE="disabled", JAX_NUM_CPU_DEVICES="1")
# Programs are small and run once: compiling them costs more than slower code. What was compiled is kept for the next build.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)
CACHE = HERE.parent / ".docs-cache"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import metarl  # noqa: E402

project, author, copyright = "metarl", "the authors of metarl", "the authors of metarl, Apache-2.0"
release = metarl.__version__
html_title = f"metarl {release}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.doctest",
    "sphinx_design",
    "sphinx_copybutton",
    "mathml",
    "generated_pages",
    "docstrings",
    "links",
]

# What other pages include, and notes that generated pages include, are no pages.
exclude_patterns = [
    "_agents/*",
    "_ext/*",
    "navigation.md",
    "shipped.md",
    "bandits.md",
    "families.md",
    "sinusoid_table.md",
]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_block", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

nb_execution_mode = "cache"
nb_execution_cache_path = str(CACHE / "pages")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_code_prompt_show = "Answer"
nb_code_prompt_hide = "Hide the answer"
nb_execution_show_tb = True

nitpicky = True
autodoc_inherit_docstrings = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "py:obj"
python_use_unqualified_type_names = True
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["playground.html"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "source_repository": "",
    "light_css_variables": {"color-brand-primary": "#1c5d99", "color-brand-content": "#1c5d99"},
    "dark_css_variables": {"color-brand-primary": "#7fb6e8", "color-brand-content": "#7fb6e8"},
}
pygments_style, pygments_dark_style = "friendly", "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
