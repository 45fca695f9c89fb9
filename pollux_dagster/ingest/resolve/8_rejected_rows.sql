-- Every unused row, once: with its own file's reason, else with the reason from comparing files.
DELETE FROM raw.rejected_rows;
INSERT INTO raw.rejected_rows BY NAME
WITH everything AS (
    SELECT 0 AS stage, * FROM landing.rejected_rows
    UNION ALL
    SELECT 1, * FROM resolve_rejected
)
SELECT file_path, row_number, reason, detail, raw_text FROM everything
QUALIFY row_number() OVER (PARTITION BY file_path, row_number ORDER BY stage, reason, detail) = 1
ORDER BY file_path, row_number;

DELETE FROM raw.notes;
INSERT INTO raw.notes BY NAME
SELECT file_path, row_number, kind, detail FROM landing.notes
UNION ALL
SELECT file_path, row_number, kind, detail FROM resolve_notes;
