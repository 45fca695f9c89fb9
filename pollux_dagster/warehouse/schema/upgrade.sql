-- One-time changes to the rows of a warehouse of an earlier schema version, after its tables were upgraded. Version 2
-- numbers runs, checks and rounds of the golden set. Rows of the first two were only ever appended, so they are stored
-- in order; a round got a new date when its state of the judge returned.
UPDATE meta.runs SET position = numbered.position
FROM (SELECT rowid AS row, row_number() OVER (ORDER BY rowid) AS position FROM meta.runs) AS numbered
WHERE runs.rowid = numbered.row AND runs.position IS NULL;
UPDATE meta.check_results SET position = numbered.position
FROM (SELECT rowid AS row, row_number() OVER (ORDER BY rowid) AS position FROM meta.check_results) AS numbered
WHERE check_results.rowid = numbered.row AND check_results.position IS NULL;
UPDATE judging.golden_rounds SET position = numbered.position
FROM (SELECT round_id, row_number() OVER (ORDER BY judged_at, rowid) AS position FROM judging.golden_rounds) AS numbered
WHERE golden_rounds.round_id = numbered.round_id AND golden_rounds.position IS NULL;
