"""Statistics of scores: how sure a mean is, which models differ, how well a judge agrees with people.

Pure functions over numpy arrays; integer codes name the groups and clusters, and nothing here knows a table,
a column or a file. The one idea: the instruction is the unit of sampling, so every standard error is
clustered by it.
"""

from typing import Literal

Aggregation = Literal["mean", "median", "mode"]
"""How several annotators of one answer become one gold score; here because settings need it without scipy."""
