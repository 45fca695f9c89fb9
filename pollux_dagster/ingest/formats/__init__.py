"""What the rows of each landing format mean, one module per family of formats. `containers` reads the files.

A format is one entry of FORMATS. The first that recognises a row is the row's format, so the more specific ones stand
before the others. A reader is a function of one row and the file's context; it returns records or raises RowRejected.
"""

from __future__ import annotations

from operator import attrgetter

from pollux_dagster.core.taxonomy import looks_like_criteria, looks_like_tasks
from pollux_dagster.ingest.formats import (
    alpaca_eval,
    annotation_exports,
    anthropic_batch,
    arena,
    chat_rows,
    fastchat,
    helm,
    inspect_log,
    lighteval,
    lm_eval,
    mera,
    openai_batch,
    opencompass,
    pollux,
    side_files,
    taxonomy_files,
)
from pollux_dagster.ingest.formats.context import refuse_without_folder
from pollux_dagster.ingest.formats.format import Format, Holds, has

FORMATS: tuple[Format, ...] = (
    # Documents as a whole
    Format(
        "taxonomy_criteria",
        Holds.TAXONOMY,
        document=looks_like_criteria,
        read_document=taxonomy_files.read_criteria_document,
    ),
    Format(
        "taxonomy_tasks",
        Holds.TAXONOMY,
        document=looks_like_tasks,
        read_document=taxonomy_files.read_tasks_document,
    ),
    Format(
        "opencompass",
        Holds.ANSWERS,
        ("origin_prompt", "prediction"),
        has("origin_prompt", "prediction"),
        opencompass.read_prediction,
        document=opencompass.is_predictions,
        unfold=opencompass.items_of,
        refuse=refuse_without_folder,
    ),
    Format(
        "opencompass_likelihoods",
        Holds.UNKNOWN,
        document=opencompass.is_likelihoods,
        unfold=opencompass.items_of,
        refuse=side_files.OPENCOMPASS_LIKELIHOODS,
    ),
    Format(
        "inspect_header",
        Holds.UNKNOWN,
        recognises=has("version", "eval", none_of=("samples",)),
        document=inspect_log.is_without_samples,
        unfold=lambda document: iter(()),
        refuse=side_files.INSPECT_HEADER,
    ),
    # Logs of evaluation tools
    Format(
        "inspect_log",
        Holds.ANSWERS,
        ("id", "epoch", "input", "output"),
        has("id", "epoch", "input", "target"),
        inspect_log.read_sample,
    ),
    Format("helm", Holds.ANSWERS, ("instance", "result"), helm.is_request_state, helm.read_request_state),
    Format(
        "lighteval",
        Holds.ANSWERS,
        ("doc", "model_response"),
        lighteval.is_detail,
        lighteval.read_detail,
        refuse=lighteval.refuse_without_model,
    ),
    Format(
        "lighteval_early",
        Holds.ANSWERS,
        ("full_prompt", "predictions", "gold"),
        has("full_prompt", "predictions", any_of=("gold", "gold_index", "choices")),
        lighteval.read_early_detail,
        refuse=lighteval.refuse_without_model,
    ),
    Format(
        "lm_eval",
        Holds.ANSWERS,
        ("doc_id", "arguments", "resps"),
        has("doc_id", any_of=("resps", "filtered_resps")),
        lm_eval.read_sample,
        refuse=lm_eval.refuse_without_model,
    ),
    Format(
        "anthropic_batch",
        Holds.ANSWERS,
        ("custom_id", "result"),
        anthropic_batch.is_result,
        anthropic_batch.read_result,
    ),
    Format(
        "batch_requests",
        Holds.UNKNOWN,
        recognises=has("custom_id", any_of=("body", "params"), none_of=("response", "error", "result")),
        refuse=side_files.BATCH_REQUESTS,
    ),
    Format(
        "openai_batch",
        Holds.ANSWERS,
        ("custom_id", "response"),
        has("custom_id", any_of=("response", "error")),
        openai_batch.read_response,
    ),
    # Files beside answers, refused by name
    Format(
        "helm_display",
        Holds.UNKNOWN,
        recognises=has("instance_id", "train_trial_index"),
        refuse=side_files.HELM_DISPLAY,
    ),
    Format("results_table", Holds.UNKNOWN, recognises=has("results", "versions"), refuse=side_files.RESULTS),
    Format("lighteval_results", Holds.UNKNOWN, recognises=has("config_general", "results"), refuse=side_files.RESULTS),
    Format(
        "judge_prompts",
        Holds.UNKNOWN,
        recognises=has("prompt_template", "output_format"),
        refuse=side_files.JUDGE_PROMPTS,
    ),
    Format(
        "judgments",
        Holds.UNKNOWN,
        recognises=has("judge", any_of=("games", "judgment", "g1_judgment")),
        refuse=side_files.JUDGMENTS,
    ),
    Format(
        "alpaca_annotations",
        Holds.UNKNOWN,
        recognises=has("instruction", "output_1", "output_2"),
        refuse=side_files.ALPACA_ANNOTATIONS,
    ),
    Format(
        "prometheus",
        Holds.UNKNOWN,
        recognises=has("orig_instruction", any_of=("orig_response", "orig_response_A")),
        refuse=side_files.PROMETHEUS,
    ),
    Format("preferences", Holds.UNKNOWN, recognises=has("chosen", "rejected"), refuse=side_files.PREFERENCES),
    # Arenas
    Format(
        "fastchat_references",
        Holds.INSTRUCTIONS,
        recognises=has("question_id", "choices"),
        read=fastchat.read_reference,
        lies=attrgetter("holds_references"),
    ),
    Format(
        "fastchat_answers",
        Holds.ANSWERS,
        ("question_id", "choices"),
        has("question_id", "choices"),
        fastchat.read_answers,
        refuse=chat_rows.refuse_without_model,
    ),
    Format(
        "fastchat_questions",
        Holds.INSTRUCTIONS,
        ("question_id", "turns"),
        has("question_id", "turns"),
        fastchat.read_question,
    ),
    Format(
        "arena_battles",
        Holds.ANSWERS,
        ("model_a", "model_b", "conversation_a", "conversation_b"),
        has("model_a", "model_b", any_of=("conversation_a", "response_a")),
        arena.read_battle,
    ),
    Format(
        "arena_hard_answers",
        Holds.ANSWERS,
        ("uid", "messages"),
        has("uid", "messages"),
        arena.read_answer,
        refuse=chat_rows.refuse_without_model,
    ),
    Format(
        "arena_hard_questions",
        Holds.INSTRUCTIONS,
        ("uid", "prompt"),
        has("uid", "prompt", none_of=(*chat_rows.RESPONSE_FIELDS, *chat_rows.RESPONSES_FIELDS)),
        arena.read_question,
    ),
    # People's scores
    Format(
        "label_studio",
        Holds.SCORES,
        ("data", "annotations"),
        has("data", "annotations"),
        annotation_exports.read_label_studio_task,
    ),
    Format(
        "label_studio_min",
        Holds.SCORES,
        ("annotation_id", "annotator", "lead_time"),
        annotation_exports.is_label_studio_row,
        annotation_exports.read_label_studio_row,
        people=annotation_exports.label_studio_questions,
    ),
    Format(
        "argilla",
        Holds.SCORES,
        ("fields", "responses"),
        annotation_exports.is_argilla_record,
        annotation_exports.read_argilla_record,
    ),
    Format(
        "toloka",
        Holds.SCORES,
        ("INPUT:prompt_id", "OUTPUT:score"),
        annotation_exports.is_toloka_row,
        annotation_exports.read_toloka_row,
    ),
    Format(
        "human_score_columns",
        Holds.SCORES,
        ("prompt_id", "model_id", "criteria_name"),
        annotation_exports.is_table_of_people,
        annotation_exports.read_row_of_people,
        people=annotation_exports.people_of,
    ),
    # Instructions, and answers beside them
    Format("mera_tasks", Holds.INSTRUCTIONS, ("instruction", "inputs", "meta"), mera.is_task, mera.read_task),
    Format(
        "alpaca_eval",
        Holds.ANSWERS,
        ("instruction", "output", "generator"),
        has("instruction", any_of=("output", "response"), none_of=("prompt_id", "answer", "criteria", "criteria_name")),
        alpaca_eval.read_output,
        refuse=alpaca_eval.refuse_training_set,
    ),
    Format(
        "pollux_wide",
        Holds.INSTRUCTIONS,
        ("instruction", "answer", "model_id"),
        has("instruction", any_of=("answer", "output")),
        pollux.read_wide,
        refuse=chat_rows.refuse_without_model,
    ),
    Format(
        "pollux_instructions",
        Holds.INSTRUCTIONS,
        ("prompt_id", "instruction"),
        has("instruction"),
        pollux.read_instruction,
    ),
    Format(
        "human_scores",
        Holds.SCORES,
        ("prompt_id", "model_id", "criteria_name", "score"),
        has("criteria_name", "score"),
        pollux.read_human_score,
    ),
    # Chats
    Format(
        "conversations",
        Holds.ANSWERS,
        ("messages",),
        chat_rows.is_conversation,
        chat_rows.read_conversation,
        refuse=chat_rows.refuse_without_model,
    ),
    Format(
        "prompt_response",
        Holds.ANSWERS,
        ("prompt", "response"),
        chat_rows.is_prompt_and_response,
        chat_rows.read_prompt_and_response,
        refuse=chat_rows.refuse_questions,
    ),
    # Answers alone
    Format(
        "reference_answers",
        Holds.INSTRUCTIONS,
        recognises=has("prompt_id", "answer"),
        read=pollux.read_reference,
        lies=attrgetter("holds_references"),
    ),
    Format(
        "references",
        Holds.INSTRUCTIONS,
        ("prompt_id", "reference_answer"),
        has("prompt_id", "reference_answer", none_of=("answer",)),
        pollux.read_reference,
    ),
    Format(
        "answers",
        Holds.ANSWERS,
        ("prompt_id", "answer"),
        pollux.is_answer,
        pollux.read_answer,
        refuse=chat_rows.refuse_without_model,
    ),
)
