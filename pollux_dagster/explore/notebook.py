"""What the publication says: ten questions to start from. A marimo notebook; change what you like.

Shown by `pollux explore`, which keeps a copy of it in the home, and opened for changes by `pollux explore --edit`.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="pollux")


@app.cell(hide_code=True)
def _():
    import duckdb
    import marimo as mo

    publication = mo.cli_args().get("publication") or "published/pollux.duckdb"
    con = duckdb.connect(publication, read_only=True)

    def ask(question, note, sql):
        """The answer in rows, under the question. Names and texts in rows are from outside and stay text."""
        rows = mo.ui.table(con.sql(sql).pl(), selection=None, label=note)
        return mo.vstack([mo.md(f"## {question}"), rows, mo.accordion({"SQL": mo.md(f"```sql\n{sql}```")})])

    return ask, con, mo


@app.cell(hide_code=True)
def _(ask):
    ask(
        "What is this publication?",
        "A demonstration judge's scores say nothing about models.",
        """
SELECT published_at, run_id, judge_names, has_demonstration_judge, package_version FROM meta.publication
""",
    )
    return


@app.cell(hide_code=True)
def _(con):
    import matplotlib.pyplot as plt

    means = con.sql("FROM marts.leaderboard WHERE mean_score IS NOT NULL").pl()
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.35 * len(means)), layout="constrained")
    for height, row in enumerate(reversed(means.to_dicts())):
        axes.plot([row["ci_low"], row["ci_high"]], [height, height], color="tab:blue")
        axes.plot(row["mean_score"], height, "o", color="tab:blue")
    names = [f"{row['model_id']} · {row['judge_name']}".replace("$", r"\$") for row in reversed(means.to_dicts())]
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("mean score, 95 % interval")
    figure  # noqa: B018 - a cell shows its last expression
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "Which model is best, and how sure is that?",
        "Intervals are 95 %, clustered by instruction. One judge at a time: never average over judges.",
        """
SELECT judge_name, model_id, round(mean_score, 3) AS mean_score, round(ci_low, 3) AS ci_low,
       round(ci_high, 3) AS ci_high, n, round(coverage, 4) AS coverage, n_gated_answers
FROM marts.model_quality ORDER BY judge_name, mean_score DESC NULLS LAST
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "Where is each model weak?",
        "The three weakest tasks of each model.",
        """
SELECT judge_name, model_id, task_type, round(mean_score, 3) AS mean_score, n, round(coverage, 3) AS coverage
FROM marts.task_quality WHERE grain = 'model_task'
QUALIFY row_number() OVER (PARTITION BY judge_id, model_id ORDER BY mean_score NULLS LAST, task_type) <= 3
ORDER BY judge_name, model_id, mean_score
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "Which criteria are hard, and for whom?",
        "Means before the gate rule, models side by side.",
        """
PIVOT (
    SELECT judge_name, criteria_name, criterion_id, model_id, round(mean_normalized_score, 3) AS mean
    FROM marts.criterion_quality
) ON model_id USING any_value(mean) GROUP BY judge_name, criteria_name, criterion_id
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "Do two models differ?",
        "They do where adjusted_p_value is below 0.05.",
        """
SELECT judge_id, model_id, other_model_id, difference, ci_low, ci_high, adjusted_p_value, n, n_clusters
FROM marts.pairwise_comparison WHERE model_id < other_model_id
ORDER BY adjusted_p_value NULLS LAST
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "What became of the requests?",
        "Failed requests are in no mean; coverage says how many.",
        """
SELECT judge_name, model_id, n_requests, n_ok, n_missing, n_failed, round(coverage, 4) AS coverage,
       prompt_tokens, completion_tokens, round(cached_share, 3) AS cached_share
FROM marts.judge_coverage ORDER BY coverage, model_id
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "What has no score, and why?",
        "Every verdict without a score, with the reason.",
        """
SELECT scores.model_id, scores.prompt_id, scores.criteria_name, scores.status, verdicts.error, verdicts.raw_text
FROM staging.scores AS scores LEFT JOIN judging.verdicts AS verdicts USING (verdict_key)
WHERE scores.status <> 'ok' ORDER BY ALL
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "What do the worst answers look like?",
        "The full texts are in the report, and in raw.model_outputs.",
        """
SELECT model_id, place, task_type, answer_score, failing_criteria, answer_excerpt, rationale_excerpt, file_path,
       row_number
FROM marts.worst_answers ORDER BY judge_name, model_id, place
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "Does the judge agree with people?",
        "Score by score, in the rubrics' own units; marts.judge_agreement has the figures to quote.",
        """
SELECT scores.judge_name, scores.criteria_name, humans.annotator, count(*) AS n,
       round(avg(abs(scores.score - humans.score)), 3) AS mean_absolute_difference
FROM staging.scores AS scores JOIN raw.human_scores AS humans USING (model_id, prompt_id, criteria_name)
WHERE scores.status = 'ok' AND scores.sample_index = 0
GROUP BY ALL ORDER BY ALL
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "Which rows could not be used?",
        "No rows means that every row was usable.",
        """
SELECT file_path, row_number, reason, detail FROM raw.rejected_rows ORDER BY ALL
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "What did the checks find?",
        "Failed ones first. A blocking one would have stopped this publication.",
        """
SELECT asset, check_name, passed, blocking, failing_rows, description FROM meta.check_results ORDER BY passed, asset
""",
    )
    return


@app.cell(hide_code=True)
def _(ask):
    ask(
        "What else is there?",
        "Every table of the file: what one row is, and a query to start from.",
        """
SELECT table_name, grain, description, example FROM meta.tables
""",
    )
    return


if __name__ == "__main__":
    app.run()
