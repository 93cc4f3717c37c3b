"""The surrogate: what is believed of designs that were not trained yet.

`learn(problem)` fits one Gaussian process for each objective that has to be learned, and the
probability that a design trains at all, in NumPy and SciPy; `models` gives BoTorch the same.
"""

from codesign.search.known_cost.surrogate.beliefs import Beliefs, learn
from codesign.search.known_cost.surrogate.process import Process

__all__ = ["Beliefs", "Process", "learn"]
