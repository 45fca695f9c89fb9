-- Every row that is not used, once: what its file says against it, else what the other files do.
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
