"""Statistics of scores: confidence intervals of means, comparisons of models, agreement of a judge with people.

The instruction is the unit of sampling, so every standard error is clustered by it. The functions are pure and work on
numpy arrays; integer codes name groups and clusters, and tables, columns and files are unknown here.
"""

from typing import Literal

Aggregation = Literal["mean", "median", "mode"]
"""How several annotators' scores of one answer become one gold score. Defined here, as Proxy is, because settings need
it without importing scipy.
"""

Proxy = Literal["number", "expectation", "both"]
"""What of a judge stands in for people's scores where they gave none: its number, the mean of the levels under its own
probabilities, or both.
"""
