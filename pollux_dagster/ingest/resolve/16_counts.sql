-- How much of each file, and of each model's answers, is used. A row that could not be read counts for the model of its
-- file, where the file has answers of one model only or says which model it is of; otherwise it counts for its file.
CREATE OR REPLACE TEMP TABLE resolve_answer_rows AS
WITH lost AS (
    SELECT file_path, row_number FROM resolve_rejected_outputs WHERE reason <> 'duplicate'
    UNION
    SELECT file_path, row_number FROM resolve_rejected_instructions
    UNION
    SELECT file_path, row_number FROM resolve_rejected_wide
), only_models AS (
    SELECT file_path, model_id FROM resolve_files WHERE model_id IS NOT NULL
)
SELECT o.file_path, o.row_number, o.model_id, min(o.prompt_id) AS prompt_id, any_value(lost.file_path) IS NOT NULL AS is_lost
FROM landing.model_outputs AS o
LEFT JOIN lost USING (file_path, row_number)
WHERE o.file_path NOT IN (SELECT file_path FROM resolve_files WHERE superseded_by IS NOT NULL)
GROUP BY o.file_path, o.row_number, o.model_id
UNION ALL
SELECT DISTINCT r.file_path, r.row_number, m.model_id, NULL, true
FROM landing.rejected_rows AS r JOIN only_models AS m USING (file_path)
ANTI JOIN resolve_sent_again USING (file_path, row_number)
WHERE r.file_path NOT IN (SELECT file_path FROM resolve_files WHERE superseded_by IS NOT NULL);

-- Not counted: repeats of a row that is used, what a later run or request replaced, people's scores for unknown
-- prompts, outputs or criteria, and files that give no sign of being meant as landing files.
DELETE FROM raw.rejection_counts;
INSERT INTO raw.rejection_counts BY NAME
WITH rejected AS (
    SELECT r.file_path, a.model_id, r.reason, count(*) AS rejected,
        r.reason NOT IN ('duplicate', 'superseded')
            AND r.file_path NOT IN (SELECT file_path FROM resolve_files WHERE superseded_by IS NOT NULL)
            AND NOT (r.row_number = 0 AND r.reason IN ('empty_file', 'unknown_format', 'compressed'))
            AND NOT (
                a.model_id IS NULL AND r.reason IN ('unknown_prompt', 'unknown_output', 'unknown_criterion')
                AND EXISTS (
                    FROM landing.human_scores AS s WHERE s.file_path = r.file_path AND s.row_number = r.row_number
                )
            ) AS is_counted
    FROM raw.rejected_rows AS r
    LEFT JOIN (SELECT file_path, row_number, model_id FROM resolve_answer_rows WHERE is_lost) AS a
        USING (file_path, row_number)
    GROUP BY ALL
), of_models AS (
    SELECT model_id, count(*) FILTER (WHERE is_lost) / count(*) AS share FROM resolve_answer_rows GROUP BY model_id
)
SELECT r.file_path, r.model_id, r.reason, r.rejected, r.is_counted, f.row_count AS file_rows,
    CASE WHEN r.is_counted THEN greatest(
        sum(r.rejected) FILTER (WHERE r.is_counted) OVER (PARTITION BY r.file_path) / f.row_count, coalesce(m.share, 0)
    ) ELSE 0 END AS share
FROM rejected AS r
JOIN landing.files AS f USING (file_path)
LEFT JOIN of_models AS m ON m.model_id = r.model_id;

DELETE FROM raw.answer_counts;
INSERT INTO raw.answer_counts BY NAME
SELECT model_id,
    (SELECT count(*) FROM raw.instructions) + count(DISTINCT r.prompt_id) FILTER (
        WHERE NOT EXISTS (FROM raw.instructions AS i WHERE i.source_prompt_id = r.prompt_id) AND r.is_lost
    ) AS expected,
    (SELECT count(DISTINCT o.prompt_id) FROM raw.model_outputs AS o WHERE o.model_id = r.model_id) AS answered,
    count(*) AS row_count, count(*) FILTER (WHERE is_lost) AS rejected,
    (SELECT count(*) FROM raw.model_outputs AS o WHERE o.model_id = r.model_id AND o.reasoning <> '') AS with_reasoning,
    (SELECT count(*) FROM raw.model_outputs AS o WHERE o.model_id = r.model_id AND o.reasoning_unclosed)
        AS reasoning_unclosed
FROM resolve_answer_rows AS r
GROUP BY model_id;
