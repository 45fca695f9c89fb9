"""lm-eval's logs as people have them: what was asked, what was answered, and which targets are references."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pollux_dagster.ingest.landing_records import Instruction
from tests.ingest.landing_world import Files, Landing, World

RUN = "out/org__m/samples_{task}_2026-01-02T03-04-05.{run}.jsonl"


def sample(doc_id: int, text: object = "ответ", *, prompt: str = "", **fields: object) -> dict[str, Any]:
    request = {"arg_0": prompt or f"Вопрос {doc_id}?", "arg_1": {"until": ["\n"], "do_sample": False}}
    return {
        "doc_id": doc_id,
        "doc": {"q": "x"},
        "target": f"эталон {doc_id}",
        "arguments": {"gen_args_0": request},
        "resps": [[text]],
        "filtered_resps": [text],
        "filter": "none",
        "doc_hash": f"hash {doc_id}",
        **fields,
    }


def run(landing: Landing, *rows: object, task: str = "ruqa", number: int = 1) -> None:
    landing.write(RUN.format(task=task, run=number), *rows)


def targets(files: Files) -> list[str | None]:
    return [record.reference_answer for _, _, record in files.of_kind(Instruction)]


def references(world: World) -> list[str | None]:
    return [text for (text,) in world.rows("SELECT reference_answer FROM raw.instructions ORDER BY prompt_id")]


@pytest.mark.parametrize(
    ("arguments", "resps"),
    [
        ({"gen_args_0": {"arg_0": "2+2=", "arg_1": " 4"}}, [[["-0.1", "True"]]]),
        ({"gen_args_0": {"arg_0": "Он увидел", "arg_1": " кота"}}, [["-2.5"]]),
        ({"gen_args_0": {"arg_0": "= Волга ="}}, [["-35.1"]]),
        ([["Он увидел", " кота"]], [[[-2.5, False]]]),
        (
            {"gen_args_0": {"arg_0": "в", "arg_1": " а"}, "gen_args_1": {"arg_0": "в", "arg_1": " б"}},
            [["-1.0"], ["-2.0"]],
        ),
    ],
)
def test_log_likelihoods_are_no_answers(files: Files, arguments: object, resps: object) -> None:
    run(files, sample(0, arguments=arguments, resps=resps, filtered_resps=resps))
    files.read()
    assert files.outputs() == []
    assert [reason for _, _, reason in files.rejected()] == ["wrong_type"]


def test_a_generated_number_is_an_answer(world: World) -> None:
    run(world, sample(0, "-2.5"))
    world.sync()
    assert [text for *_, text in world.outputs()] == ["-2.5"]


@pytest.mark.parametrize("text", ["None", None, "$ERROR$"])
def test_a_failed_request_is_no_answer(files: Files, text: object) -> None:
    run(files, sample(0, text), sample(1, "None of them"))
    files.read()
    assert [text for *_, text in files.outputs()] == ["None of them"]
    assert [reason for _, _, reason in files.rejected()] == ["failed_response"]


@pytest.mark.parametrize(
    ("task", "target"),
    [
        ("ifeval", "0"),
        ("leaderboard_ifeval", "0"),
        ("humaneval_instruct", "4"),
        ("mbpp", "x"),
        ("ruqa", "def check(f):\n    assert f(1) == 2"),
        ("ruqa", "['Париж', 'г. Париж']"),
        ("ruqa", ["Париж", "г. Париж"]),
        ("ruqa", "{'text': ['Париж']}"),
        ("ruqa", "[]"),
        ("ruqa", "None"),
        ("ruqa", True),
        ("ruqa", {"text": ["Париж"]}),
        ("ruqa", "array(['Париж'], dtype=object)"),
        ("ruqa", " "),
    ],
)
def test_a_target_that_is_no_text_to_compare_with_is_no_reference(files: Files, task: str, target: object) -> None:
    run(files, sample(0, target=target), task=task)
    files.read()
    assert (targets(files), files.rejected()) == ([None], [])


def test_the_number_of_a_choice_is_no_reference_and_a_choice_is(files: Files) -> None:
    numbered = {"choices": ["Лена", "Волга"]}
    run(files, sample(0, target="1", doc=numbered), sample(1, target="12", doc={"options": ["7", "12"]}))
    files.read()
    assert targets(files) == [None, "12"]


@pytest.mark.parametrize(
    ("target", "reference"), [("18", "18"), ("['Париж']", "Париж"), ("[1] источник", "[1] источник")]
)
def test_a_target_that_is_a_text_is_the_reference(files: Files, target: object, reference: str) -> None:
    run(files, sample(0, target=target))
    files.read()
    assert targets(files) == [reference]


def test_one_target_for_every_document_is_a_placeholder_and_a_note_says_so(world: World) -> None:
    run(world, *(sample(number, target="0") for number in range(3)), task="unheard_of")
    world.sync()
    assert references(world) == [None, None, None]
    assert [kind for (kind,) in world.rows("SELECT kind FROM raw.notes")] == ["no_reference"]


CHATS = {
    "chatml": "<|im_start|>user\n{0}<|im_end|>\n<|im_start|>assistant\n",
    "qwen, default system": (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n{0}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    ),
    "llama 3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{0}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma": "<bos><start_of_turn>user\n{0}<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] {0} [/INST]",
    "phi": "<|user|>\n{0}<|end|>\n<|assistant|>\n",
    "deepseek": "<｜begin▁of▁sentence｜><｜User｜>{0}<｜Assistant｜>",
    "gigachat": "<s>user<|role_sep|>{0}<|message_sep|>assistant<|role_sep|>",
    "yandexgpt": "<s> Пользователь: {0}\n\n Ассистент:[SEP]",
    "command r": (
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>{0}<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    ),
    "api": '[{{"role": "user", "content": "{0}", "type": "text"}}]',
}


@pytest.mark.parametrize("template", CHATS.values(), ids=CHATS.keys())
def test_a_chat_template_is_not_part_of_the_instruction(files: Files, template: str) -> None:
    run(files, sample(0, prompt=template.format("Сколько будет 2+2?")))
    files.read()
    assert [record.instruction for _, _, record in files.of_kind(Instruction)] == ["Сколько будет 2+2?"]


@pytest.mark.parametrize(
    "prompt",
    [
        "<|im_start|>system\nКратко.<|im_end|>\n<|im_start|>user\nРаз?<|im_end|>\n<|im_start|>assistant\nДа.<|im_end|>\n"
        "<|im_start|>user\nДва?<|im_end|>\n<|im_start|>assistant\n",
        json.dumps(
            [
                {"role": "system", "content": "Кратко."},
                {"role": "user", "content": "Раз?"},
                {"role": "assistant", "content": "Да."},
                {"role": "user", "content": "Два?"},
            ]
        ),
        "<s>[INST] <<SYS>>\nКратко.\n<</SYS>>\n\nРаз? [/INST] Да.</s><s>[INST] Два? [/INST]",
    ],
)
def test_system_messages_and_few_shot_chats_stay_in_the_instruction(files: Files, prompt: str) -> None:
    run(files, sample(0, prompt=prompt))
    files.read()
    ((_, _, record),) = files.of_kind(Instruction)
    text = record.instruction
    assert [text.index(part) for part in ("Кратко.", "Раз?", "Да.", "Два?")] == sorted(
        text.index(part) for part in ("Кратко.", "Раз?", "Да.", "Два?")
    )
    assert "<|im_" not in text and "[INST]" not in text and "SYS" not in text


def test_documents_with_one_hash_are_one_prompt_however_models_were_asked(world: World) -> None:
    for model, template in (("a", CHATS["chatml"]), ("b", "Ответь: {0}")):
        path = f"out/{model}/samples_ruqa_2026-01-02T03-04-05.1.jsonl"
        world.write(path, sample(0, prompt=template.format("Сколько?")))
    world.sync()
    assert world.rejected() == []
    assert [(model, prompt) for model, prompt, _, _ in world.outputs()] == [("a", "ruqa:0"), ("b", "ruqa:0")]


def test_the_later_of_two_runs_counts_and_says_so(world: World) -> None:
    run(world, sample(0, "пять"), sample(1, "пять"), number=1)
    run(world, sample(0, "четыре"), number=2)
    world.sync()
    assert [(prompt, text) for _, prompt, _, text in world.outputs()] == [("ruqa:0", "четыре")]
    assert {reason for _, _, reason in world.rejected()} == {"superseded"}
    ((detail,),) = world.rows("SELECT DISTINCT detail FROM raw.rejected_rows")
    assert RUN.format(task="ruqa", run=2) in detail
    assert world.rows("SELECT file_path, kind FROM raw.notes") == [(RUN.format(task="ruqa", run=2), "later_run")]
    assert world.rows("SELECT count(*) FROM raw.rejection_counts WHERE is_counted") == [(0,)]


def test_when_the_later_run_is_deleted_the_earlier_one_counts_again(world: World) -> None:
    run(world, sample(0, "пять"), number=1)
    run(world, sample(0, "четыре"), number=2)
    world.sync()
    (world.landing / RUN.format(task="ruqa", run=2)).unlink()
    world.sync()
    assert [text for *_, text in world.outputs()] == ["пять"]
    assert world.rejected() == []


@pytest.mark.parametrize("folder", ["", "results/", "results/samples/"])
def test_a_file_in_no_folder_of_a_model_is_refused(files: Files, folder: str) -> None:
    path = f"{folder}samples_ruqa_2026-01-02T03-04-05.1.jsonl"
    files.write(path, sample(0))
    files.read()
    assert files.outputs() == []
    assert files.rejected() == [(path, 0, "unknown_format")]


def test_a_folder_of_samples_is_no_model(world: World) -> None:
    world.write("out/org__m/samples/samples_ruqa_2026-01-02T03-04-05.1.jsonl", sample(0))
    world.sync()
    assert {model for model, *_ in world.outputs()} == {"org/m"}


def test_runs_are_told_apart_in_whichever_folders_they_lie(world: World) -> None:
    for folder, number, text in (("first", 2, "четыре"), ("second", 1, "пять")):
        world.write(f"{folder}/org__m/samples_ruqa_2026-01-02T03-04-05.{number}.jsonl", sample(0, text))
    world.write("second/org__n/samples_ruqa_2026-01-02T03-04-05.1.jsonl", sample(0, "шесть"))
    world.sync()
    assert [(model, text) for model, _, _, text in world.outputs()] == [("org/m", "четыре"), ("org/n", "шесть")]
    assert {reason for _, _, reason in world.rejected()} == {"superseded"}


def test_failures_of_an_earlier_run_do_not_count_for_the_model(world: World) -> None:
    run(world, sample(0, "None"), sample(1, "пять"), number=1)
    run(world, sample(0), sample(1), number=2)
    world.sync()
    assert {reason for _, _, reason in world.rejected()} == {"failed_response", "superseded"}
    assert world.rows("SELECT count(*) FROM raw.rejection_counts WHERE is_counted") == [(0,)]
    assert world.rows("SELECT rejected FROM raw.answer_counts") == [(0,)]


def test_a_later_run_of_which_every_request_failed_counts_too(world: World) -> None:
    """Its model has no answer then: those of a run that was meant to be replaced would look like the new ones."""
    run(world, sample(0, "пять"), sample(1, "пять"), number=1)
    run(world, sample(0, "None"), sample(1, "None"), number=2)
    world.sync()
    assert world.outputs() == []
    assert [reason for _, _, reason in world.rejected()] == ["superseded"] * 2 + ["failed_response"] * 2
    assert world.rows("SELECT file_path, kind FROM raw.notes") == [(RUN.format(task="ruqa", run=2), "later_run")]
    ((model, rejected),) = world.rows("SELECT model_id, rejected FROM raw.answer_counts")
    assert rejected == 2
    assert world.rows("SELECT model_id, rejected, share FROM raw.rejection_counts WHERE is_counted") == [
        (model, 2, 1.0)
    ]


def test_a_prompt_that_means_two_instructions_does_not_stand_for_its_document(world: World) -> None:
    for name, text in (("a", "Сколько?"), ("b", "Когда?")):
        world.write(f"{name}/instructions.jsonl", {"prompt_id": "q", "instruction": text})
    both, neither = (  # one document, by its hash
        sample(n, prompt=prompt, doc={"prompt_id": "q"}, doc_hash="one", target="4")
        for n, prompt in enumerate(("Сколько? Когда?", "Где?"))
    )
    run(world, both, neither)
    world.sync()
    assert [reason for _, _, reason in world.rejected()] == ["ambiguous_prompt"]
    assert world.rows("SELECT i.instruction FROM raw.model_outputs JOIN raw.instructions AS i USING (prompt_id)") == [
        ("Где?",)
    ]
