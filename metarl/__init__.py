"""The mathematics of gradient-based meta-learning: data first, then a pure objective.

``collect`` plays the inner loop and records data; ``adapt`` replays it differentiably; a meta-gradient differentiates the
replay. Nothing here knows an environment, a network library or a file.
"""

import _metarl_names

__version__ = "0.1.0"

_metarl_names.activate(__path__[0])  # metarl.envs and envs are one module, see there
