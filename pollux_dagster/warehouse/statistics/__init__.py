"""Statistics of the warehouse's scores: reads staging.scores and raw.human_scores, writes the schema `statistics`.

The formulas are in core.statistics. DuckDB selects and averages, integer codes are passed to numpy, and finished tables
come back, so that no row passes through a Python loop.
"""

from collections.abc import Mapping

TABLES: Mapping[str, str] = {
    "mean_intervals": "Standard error and 95 % interval, clustered by instruction, of every mean in the marts.",
    "pairwise_comparison": "Every two models of a judge on the items both have: difference, interval, p-value.",
    "rank_intervals": "Rank of each model with bounds that hold for all models together, and its ties.",
    "length_effect": "How much each criterion's score depends on the length of the answer.",
    "length_controlled": "Mean score of each model if all its answers had the usual length for their instruction.",
    "judge_agreement": "How well each judge agrees with people, beside the agreement among people.",
    "confusion": "People's levels against the judge's.",
    "judge_comparison": "Judges side by side on the items that people and all judges scored.",
    "calibrated_quality": "Mean human score of each model, estimated from the judge's scores and people's labels.",
    "people_comparison": "Every two models of a judge by people's scores: difference, interval, p-value.",
    "golden_drift": "How far each round of the golden set differs from the baseline round, by criterion.",
    "judge_steadiness": "How often verdicts of one request differ, where requests were judged more than once.",
}
"""Every table with its description: the asset graph and the publication need the names without importing scipy."""
