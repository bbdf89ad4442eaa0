"""Few-shot tasks of one's own: from arrays, from CSV and NPZ files, from a function; and scikit-learn's digits.

`read` or `arrays` check the data, `from_arrays` makes a family of them, `from_function` one of a function that draws support
and query sets. Both kinds are alike to agents: `agents.make("maml", family, num_shots=5)`.
"""

from envs.few_shot.examples import Arrays, arrays
from envs.few_shot.family import FewShotFamily, Rows, Split, from_arrays
from envs.few_shot.files import read
from envs.few_shot.functions import Drawn, from_function
from envs.few_shot.sklearn_digits import digits

__all__ = ["Arrays", "Drawn", "FewShotFamily", "Rows", "Split", "arrays", "digits", "from_arrays", "from_function", "read"]
