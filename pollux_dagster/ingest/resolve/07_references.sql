-- Only if: FROM landing.reference_answers
-- Reference answers that lie apart, as FastChat's judge takes them: instead of one in the question's own row.
INSERT INTO resolve_references BY NAME
SELECT r.file_path, r.row_number, m.key, m.reason, m.detail, row_number() OVER keys AS occurrence,
    md5(r.reference_answer) = first_value(md5(r.reference_answer)) OVER keys AS same_reference,
    first_value(r.file_path || ':' || r.row_number) OVER keys AS first_at
FROM landing.reference_answers AS r
JOIN resolve_files AS f USING (file_path)
JOIN resolve_meanings AS m ON m.place = f.dataset AND m.prompt_id = r.prompt_id
WINDOW keys AS (PARTITION BY m.key ORDER BY r.file_path, r.row_number);

INSERT INTO resolve_rejected
SELECT file_path, row_number,
    CASE WHEN key IS NULL THEN reason WHEN same_reference THEN 'duplicate' ELSE 'conflicting_duplicate' END,
    CASE WHEN key IS NULL THEN detail ELSE 'the reference answer is already given at ' || first_at END,
    left(to_json({prompt_id: l.prompt_id, reference_answer: l.reference_answer})::VARCHAR, 4000)
FROM resolve_references AS r JOIN landing.reference_answers AS l USING (file_path, row_number)
WHERE key IS NULL OR occurrence > 1;

INSERT INTO resolve_notes
SELECT i.file_path, 0, 'reference_not_read', count(*) || ' row(s) have another reference answer than '
    || min(l.file_path || ':' || l.row_number) || ', which counts'
FROM resolve_references AS r
JOIN landing.reference_answers AS l USING (file_path, row_number)
JOIN resolve_prompts AS p ON p.key = r.key
JOIN resolve_instructions AS i ON i.file_path = p.file_path AND i.row_number = p.row_number
JOIN landing.instructions AS own ON own.file_path = i.file_path AND own.row_number = i.row_number
WHERE r.occurrence = 1 AND i.reference IS NOT NULL
    AND raw.same_words(own.reference_answer) <> raw.same_words(l.reference_answer)
GROUP BY i.file_path;
