"""Statistics of the warehouse's scores: reads staging.scores and raw.human_scores, writes the schema `statistics`.

No formula lives here: those are in core.statistics. The one idea: DuckDB selects and averages, integer codes cross
over to numpy, and finished tables come back, so that no row passes through a Python loop.
"""

from collections.abc import Mapping

TABLES: Mapping[str, str] = {
    "mean_intervals": "Standard error and 95 % interval, clustered by instruction, of every mean in the marts.",
    "pairwise_comparison": "Every two models of a judge on the items both have: difference, interval, p-value.",
    "rank_intervals": "Rank of each model with bounds that hold for all models together, and whom it is tied with.",
    "length_effect": "How much each criterion's score follows the length of the answer.",
    "length_controlled": "Mean score of each model had all its answers the length usual for their instruction.",
    "judge_agreement": "How well each judge agrees with people, with people's own agreement beside it.",
    "confusion": "People's levels against the judge's.",
    "judge_comparison": "Judges side by side on the items that all of them and people scored.",
    "calibrated_quality": "Mean human score of each model, estimated from the judge's scores and people's labels.",
    "golden_drift": "How far each round of the golden set moved from the baseline round, criterion by criterion.",
    "judge_steadiness": "How often verdicts of one request differ, where requests were judged more than once.",
}
"""Every table, and what it says: the graph and the publication need the names without scipy."""
