"""Judge profiles as files: what each field does, what a wrong file is told, and that the packaged ones can be used."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pollux_dagster.core.profile_files import (
    ProfileError,
    _Profile,
    find_profile,
    own_profiles,
    packaged_profile,
    packaged_profiles,
    read_profile,
)
from pollux_dagster.core.profiles import ReplyFormat, Sampling
from pollux_dagster.core.prompts import PLACEHOLDERS, render
from pollux_dagster.core.replies import MessageParts, read_reply
from pollux_dagster.core.verdicts import VerdictStatus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "pollux_dagster" / "judges"
CARD_TABLE = {
    *("pollux-4b", "pollux-7b", "pollux-32b", "qwen3.5-4b", "qwen3.5-35b-a3b", "qwen3.5-122b-a10b"),
    *("qwen3.5-397b-a17b", "gpt-oss-120b", "minimax-m2.5", "kimi-k2.5", "glm-4.7", "gemma-4-31b"),
}

Write = Callable[..., Path]
_SECTIONS: dict[str, Any] = {
    name: _Profile.model_fields[name].annotation for name in ("prompt", "sampling", "request", "reply", "server")
}
# The demonstration judge is marked by the package itself.
FIELDS = {
    "": sorted(set(_Profile.model_fields) - {"demonstration", *_SECTIONS}),
    **{name: sorted(section.model_fields) for name, section in _SECTIONS.items()},
}

SMALL = """
model = "mine/judge"

[prompt]
template = "{instruction} {reference_answer} {answer} {criteria_name} {criteria_rubrics}"

[reply]
score = "tag"
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a profile file and returns its path."""

    def write(text: str, name: str = "mine.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_small_file_is_a_judge_asked_greedily(write: Write) -> None:
    profile = read_profile(write(SMALL))
    assert (profile.name, profile.model) == ("mine", "mine/judge")
    assert profile.sampling == Sampling()
    assert (profile.score.format, profile.score.tag) == (ReplyFormat.TAG, "score")
    assert not profile.has_met_weights


def test_the_profile_of_the_documentation_can_be_used(write: Write) -> None:
    ((name, text),) = re.findall(r"^```toml (\S+)\n(.*?)^```$", (ROOT / "docs" / "judges.md").read_text(), re.M | re.S)
    profile = read_profile(write(text, name))
    prompt = render(profile.template, "Задание", None, "Ответ", "Верность", "0: нет\n1: да")
    assert "Образец: \n" in prompt
    assert prompt.endswith("\n1: да")
    reply = MessageParts("Коротко и ясно. <score>1</score>", None)
    assert read_reply(profile, reply, "stop", (0.0, 1.0)).score == 1.0


def test_every_field_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "profiles.md").read_text()
    for section, fields in FIELDS.items():
        for name in fields:
            whole = name if section == "" else f"{section}.{name}"
            assert f"`{whole}`" in page or (section in ("sampling", "reply") and f"`{name}`" in page), whole


def test_every_field_reaches_the_profile(write: Write) -> None:
    profile = read_profile(
        write("""
model = "mine/judge"
description = "Мой судья"
license = "MIT"
sources = ["a page"]
has_met_weights = true
minimum_coverage = 0.5

[prompt]
template = "{instruction} {reference_answer} {answer} {criteria_name} {criteria_rubrics}"
without_reference = "{instruction} {answer} {criteria_name} {criteria_rubrics}"
system = "Будь строг."

[sampling]
temperature = 0.6
top_p = "server"
top_k = 20
max_tokens = 512

[request]
neutral_fields = "omit"
token_limit = "max_completion_tokens"
extra_body = { chat_template_kwargs = { enable_thinking = true } }

[reply]
score = "regex"
pattern = 'Балл: (\\d+)'

[server]
revision = "0123abc"
max_model_len = 16384
reasoning_parser = { vllm = "qwen3" }
arguments = { vllm = ["--trust-remote-code"] }
""")
    )
    assert (profile.description, profile.license, profile.sources) == ("Мой судья", "MIT", ("a page",))
    assert (profile.has_met_weights, profile.minimum_coverage) == (True, 0.5)
    assert profile.template.without_reference == "{instruction} {answer} {criteria_name} {criteria_rubrics}"
    assert profile.system_message == "Будь строг."
    assert profile.sampling == Sampling(temperature=0.6, top_p=None, top_k=20, max_tokens=512)
    assert "top_p" not in profile.sampling.as_request_fields()
    assert (profile.request.omits_neutral, profile.request.token_limit) == (True, "max_completion_tokens")
    assert profile.request.extra_body == {"chat_template_kwargs": {"enable_thinking": True}}
    assert (profile.revision, profile.max_model_len) == ("0123abc", 16_384)
    assert profile.reasoning_parser == {"vllm": "qwen3"}
    assert profile.arguments == {"vllm": ("--trust-remote-code",)}
    read = read_reply(profile, MessageParts("Неплохо. Балл: 1", None), "stop", (0.0, 1.0, 2.0))
    assert (read.status, read.score, read.rationale) == (VerdictStatus.OK, 1.0, "Неплохо.")


def test_a_prompt_file_is_used_byte_for_byte(write: Write, tmp_path: Path) -> None:
    prompt = "{instruction}\r\n{reference_answer}\r\n{answer}\n{criteria_name}\n{criteria_rubrics}\n"
    (tmp_path / "prompt.txt").write_bytes(prompt.encode())
    profile = read_profile(write('model = "m"\n[prompt]\nfile = "prompt.txt"\n[reply]\nscore = "json"\n'))
    assert profile.template.with_reference == prompt


@pytest.mark.parametrize(
    ("heading", "without"),
    [("keep", "И:\n{answer}\n\nЭ:\n"), ("leave_out", "И:\n{answer}")],
)
def test_the_heading_of_an_empty_reference_is_kept_or_left_out(heading: str, without: str, write: Write) -> None:
    template = "{instruction}{criteria_name}{criteria_rubrics}\n\nИ:\n{answer}\n\nЭ:\n{reference_answer}"
    profile = read_profile(
        write(
            f'model = "m"\n[prompt]\nreference_heading = "{heading}"\ntemplate = """{template}"""\n'
            '[reply]\nscore = "json"\n'
        )
    )
    assert profile.template.without_reference == f"{{instruction}}{{criteria_name}}{{criteria_rubrics}}\n\n{without}"


WRONG = {
    "no model": (SMALL.replace('model = "mine/judge"', ""), "model: a value is missing"),
    "a field misspelt": (SMALL.replace("model =", "modle ="), "modle: no such field; did you mean model?"),
    "a section's field misspelt": (
        f"{SMALL}\n[sampling]\ntemprature = 1\n",
        "sampling.temprature: no such field; did you mean temperature?",
    ),
    "a field of no kind": (f"{SMALL}\nzzz = 1\n", "reply.zzz: no such field; known here: score, score_path"),
    "a temperature out of range": (
        f"{SMALL}\n[sampling]\ntemperature = 3\n",
        "sampling.temperature: found '3', expected less than or equal to 2 or 'server'",
    ),
    "a word for a number": (
        f'{SMALL}\n[sampling]\ntop_k = "all"\n',
        "sampling.top_k: found 'all', expected a valid integer or 'server'",
    ),
    "two prompts": (
        SMALL.replace("[reply]", 'file = "prompt.txt"\n\n[reply]'),
        "prompt: expected either `template` with the text, or `file`",
    ),
    "no prompt": (
        SMALL.replace("template = ", "system = "),
        "prompt: expected either `template` with the text, or `file`",
    ),
    "a prompt without the answer": (
        SMALL.replace(" {answer}", ""),
        "prompt.template: expected {answer} in it, found none",
    ),
    "a placeholder misspelt": (
        SMALL.replace("{reference_answer}", "{referense_answer}"),
        "prompt.template: {referense_answer} is no placeholder; did you mean {reference_answer}?",
    ),
    "a prompt file that is not there": (
        SMALL.replace("template = ", "file = "),
        "prompt.file: {instruction} {reference_answer} {answer} {criteria_name} {criteria_rubrics} cannot be read",
    ),
    "a format of no kind": (
        SMALL.replace('"tag"', '"tags"'),
        "reply.score: found 'tags', expected 'after_reasoning', 'feedback_result', 'json', 'tag' or 'regex'",
    ),
    "a pattern for another format": (
        f"{SMALL}pattern = '(\\d)'\n",
        'reply: pattern: expected one with score = "regex", and with no other',
    ),
    "a pattern without a group": (
        SMALL.replace('"tag"', "\"regex\"\npattern = '\\d'"),
        "reply: pattern: expected exactly one group, the score; found 0",
    ),
    "a pattern that is none": (
        SMALL.replace('"tag"', "\"regex\"\npattern = '(\\d'"),
        "reply: pattern: expected a regular expression of Python, missing )",
    ),
    "a field stated twice": (
        f"{SMALL}\n[request]\nextra_body = {{ max_tokens = 5 }}\n",
        "request: extra_body: expected no max_tokens: other fields of a profile say what is asked and how",
    ),
    "levels of no schema": (
        f"{SMALL}\n[request]\nlimit_score_to_levels = true\n",
        "request: limit_score_to_levels: expected a response_format with a JSON schema to limit",
    ),
    "a distribution of what is no bare number": (
        f"{SMALL}\n[request]\nscore_distribution = true\n",
        'request.score_distribution: expected reply.score = "after_reasoning", found "tag"',
    ),
    "an engine of no kind": (
        f'{SMALL}\n[server]\nreasoning_parser = {{ vlm = "qwen3" }}\n',
        "server.reasoning_parser.vlm: found 'vlm', expected 'vllm' or 'sglang'",
    ),
    "a model that a router chooses": (
        f'{SMALL}\n[request]\nextra_body = {{ models = ["a"], route = "fallback", max_completion_tokens = 5 }}\n',
        "request: extra_body: expected no max_completion_tokens, models, route",
    ),
    "levels of JSON without a schema": (
        f'{SMALL}\n[request]\nlimit_score_to_levels = true\nresponse_format = {{ type = "json_object" }}\n',
        "limit_score_to_levels: expected a response_format with a JSON schema to limit: ",
    ),
    "levels of a schema without a score": (
        f"{SMALL}\n[request]\nlimit_score_to_levels = true\n"
        "response_format = { json_schema = { schema = { properties = { grade = {} } } } }\n",
        "limit_score_to_levels: expected a response_format with a JSON schema to limit: ",
    ),
    "a date in a request": (
        f"{SMALL}\n[request]\nextra_body = {{ a = [{{ b = 2024-01-02 }}] }}\n",
        "request: extra_body.a.b: expected a value of JSON, found a date or time (2024-01-02); write it in quotes",
    ),
    "a time in a response format": (
        f"{SMALL}\n[request]\nresponse_format = {{ a = 10:00:00 }}\n",
        "request: response_format.a: expected a value of JSON, found a date or time (10:00:00)",
    ),
    "a number too large": (
        f"{SMALL}\n[request]\nextra_body = {{ a = {2**64} }}\n",
        "request: extra_body.a: expected a value of JSON, found a whole number of 20 digits",
    ),
    "no number": (
        f"{SMALL}\n[request]\nextra_body = {{ a = nan }}\n",
        "request: extra_body.a: expected a value of JSON, found nan",
    ),
    "an endless number": (
        f"{SMALL}\n[request]\nextra_body = {{ a = [1.5, -inf] }}\n",
        "request: extra_body.a: expected a value of JSON, found -inf",
    ),
    "a path of another language": (
        SMALL.replace('"tag"', '"json"\nscore_path = "$.score"'),
        "reply.score_path: expected keys separated by dots, such as verdict.score; found '$.score'",
    ),
    "a path with an index": (
        SMALL.replace('"tag"', '"json"\nrationale_path = "a[0]"'),
        "reply.rationale_path: expected keys separated by dots",
    ),
    "a path with an empty step": (
        SMALL.replace('"tag"', '"json"\nscore_path = "a..b"'),
        "reply.score_path: expected keys separated by dots",
    ),
    "a field outside its section": (f"temperature = 0.5\n{SMALL}", "temperature: belongs in [sampling]"),
    "a field in another section": (f"{SMALL}\nmax_model_len = 4096\n", "reply.max_model_len: belongs in [server]"),
    "a field of the top in a section": (
        f'{SMALL}\nlicense = "MIT"\n',
        "reply.license: belongs at the top, before the first section",
    ),
    "a section in a section": (f"{SMALL}\n[reply.sampling]\nseed = 1\n", "reply.sampling: write [sampling]"),
    "a pattern in double quotes": (
        SMALL.replace('"tag"', '"regex"\npattern = "Балл: (\\d)"'),
        "write patterns in single quotes",
    ),
    "a pattern with two groups": (
        SMALL.replace('"tag"', "\"regex\"\npattern = '(Балл|Оценка): (\\d)'"),
        "reply: pattern: expected exactly one group, the score; found 2; write the others as (?:…)",
    ),
    "a pattern that never ends": (
        SMALL.replace('"tag"', "\"regex\"\npattern = '(?:\\s*\\w+[,.]?\\s*)+Оценка: (\\d)'"),
        "reply: pattern: expected one that is quick in any reply",
    ),
    "a placeholder that is part of another's name": (
        SMALL.replace("{reference_answer}", "{reference_answer} {reference}"),
        "prompt.template: {reference} is no placeholder; did you mean {reference_answer}?",
    ),
    "a placeholder like none": (
        SMALL.replace("{reference_answer}", "{reference_answer} {вопрос}"),
        "prompt.template: {вопрос} is no placeholder; known: {instruction}, {reference_answer}, {answer}, ",
    ),
    "a placeholder in doubled braces": (
        SMALL.replace("{answer}", "{{answer}}"),
        "prompt.template: {{answer}}: expected one pair of braces, {answer}",
    ),
    "a placeholder misspelt for tasks without a reference": (
        SMALL.replace(
            "[reply]",
            'without_reference = "{instruction} {answer} {response} {criteria_name} {criteria_rubrics}"\n[reply]',
        ),
        "prompt.without_reference: {response} is no placeholder; ",
    ),
    "a placeholder in the system message": (
        SMALL.replace("[reply]", 'system = "Оцени {criteria_name} и {ответ}"\n[reply]'),
        "prompt.system: found {criteria_name}, {ответ}; the system message has no placeholders, the template has them",
    ),
    "a prompt without the reference": (
        SMALL.replace("{reference_answer}", ""),
        "prompt.template: expected {reference_answer} in it, found none; "
        'reference_heading = "none" says that this judge is shown no reference',
    ),
    "a reference that is not to be shown": (
        SMALL.replace("[reply]", 'reference_heading = "none"\n[reply]'),
        'prompt.template: expected no {reference_answer} with reference_heading = "none"',
    ),
    "a paragraph that holds more than the reference": (
        SMALL.replace("[reply]", 'reference_heading = "leave_out"\n[reply]'),
        "what is left: expected {answer}, {criteria_name}, {criteria_rubrics}, {instruction} in it, found none",
    ),
    "two faults of a prompt": (
        SMALL.replace("{answer}", "{anwser}"),
        "{anwser} is no placeholder; did you mean {answer}?; prompt.template: expected {answer} in it, found none",
    ),
    "a prompt file elsewhere": (
        SMALL.replace("template = ", 'file = "../prompt.txt" # '),
        "prompt.file: expected the name of a file in the profile's folder, found ../prompt.txt",
    ),
    "a prompt file by its whole path": (
        SMALL.replace("template = ", 'file = "/etc/hostname" # '),
        "prompt.file: expected the name of a file in the profile's folder, found /etc/hostname",
    ),
    "a prompt file that is a folder": (SMALL.replace("template = ", 'file = "." # '), "expected a regular file"),
    "no TOML": ("model = ", "expected TOML: Invalid value"),
    "two faults": (
        f"{SMALL.replace(' {answer}', '')}\n[sampling]\ntop_p = 0\nseed = -1\n",
        "sampling.top_p: found '0', expected greater than 0 or 'server'; sampling.seed: found '-1', expected greater",
    ),
}


def test_faults_of_fields_and_of_the_prompts_text_are_told_together(write: Write) -> None:
    text = SMALL.replace("{criteria_name}", "{criterion_name}").replace(
        "[reply]", "[sampling]\ntemprature = 0\n[reply]"
    )
    with pytest.raises(ProfileError) as raised:
        read_profile(write(text))
    assert "sampling.temprature: no such field; did you mean temperature?" in str(raised.value)
    assert "{criterion_name} is no placeholder; did you mean {criteria_name}?" in str(raised.value)
    assert str(raised.value).count("mine.toml") == 1


def test_an_unknown_field_hides_no_other_fault_of_its_section(write: Write) -> None:
    text = """
model = "m"
[prompt]
sytem = "…"
system = "Оцените {answer}."
template = "{instuction} {reference_answer} {answer} {criteria_name} {{criteria_rubrics}}"
[reply]
score = "json"
pattern = "(1)"
paths = "x"
"""
    with pytest.raises(ProfileError) as raised:
        read_profile(write(text))
    for fault in (
        "prompt.sytem: no such field; did you mean system?",
        "reply.paths: no such field",
        'pattern: expected one with score = "regex"',
        "{instuction} is no placeholder; did you mean {instruction}?",
        "{{criteria_rubrics}}: expected one pair of braces",
        "prompt.system: found {answer}",
    ):
        assert str(raised.value).count(fault) == 1, str(raised.value)


def test_a_prompt_written_on_windows_loses_one_paragraph_without_a_reference(write: Write, tmp_path: Path) -> None:
    lines = "З: {instruction}\r\n\r\nЭ: {reference_answer}\r\n\r\nО: {answer} {criteria_name}\r\n{criteria_rubrics}"
    (tmp_path / "prompt.txt").write_bytes(lines.encode())
    section = '[prompt]\nfile = "prompt.txt"\nreference_heading = "leave_out"\n'
    profile = read_profile(write(f'model = "m"\n{section}[reply]\nscore = "json"\n'))
    assert profile.template.with_reference == lines
    assert profile.template.without_reference == lines.replace("Э: {reference_answer}\r\n\r\n", "")


def test_a_tag_may_be_a_word_of_any_script(write: Write) -> None:
    profile = read_profile(write(SMALL.replace('"tag"', '"tag"\ntag = "балл"')))
    reply = read_reply(profile, MessageParts("Верно. <балл>1</балл>", None), "stop", (0.0, 1.0))
    assert (reply.status, reply.score) == (VerdictStatus.OK, 1.0)


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_the_place_and_what_was_expected(text: str, message: str, write: Write) -> None:
    path = write(text)
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.toml: the profile cannot be read: No such file"):
        read_profile(tmp_path / "none.toml")
    (tmp_path / "other.toml").write_bytes("модель".encode("cp1251"))
    with pytest.raises(ProfileError, match=r"other\.toml: expected UTF-8, found byte 0xec"):
        read_profile(tmp_path / "other.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ProfileError, match=r"large\.toml: expected at most 1048576 bytes, found 2097152"):
        read_profile(tmp_path / "large.toml")


def test_braces_that_are_no_placeholders_are_text(write: Write) -> None:
    text = 'Верни {"score": 1, "why": {}} или \\boxed{score}, {1}, { x }. {"a": {answer}}'
    profile = read_profile(
        write(SMALL.replace('"{instruction}', f"'''{{instruction}} {text}").replace('rubrics}"', "rubrics}'''"))
    )
    shown = render(profile.template, "И", "Э", "О", "К", "Ш")
    assert shown == f"И {text.replace('{answer}', 'О')} Э О К Ш"


def test_a_judge_may_be_shown_no_reference(write: Write) -> None:
    text = SMALL.replace(" {reference_answer}", "").replace("[reply]", 'reference_heading = "none"\n[reply]')
    template = read_profile(write(text)).template
    assert render(template, "И", "Э", "О", "К", "Ш") == render(template, "И", None, "О", "К", "Ш") == "И О К Ш"


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(write: Write, tmp_path: Path) -> None:
    (tmp_path / "judges").mkdir()
    os.mkfifo(tmp_path / "judges" / "pipe.toml")
    assert own_profiles(tmp_path) == []
    with pytest.raises(ProfileError, match=r"pipe\.toml: expected a regular file"):
        read_profile(tmp_path / "judges" / "pipe.toml")
    os.mkfifo(tmp_path / "prompt.txt")
    with pytest.raises(ProfileError, match=r"prompt\.file: prompt\.txt cannot be read: .*expected a regular file"):
        read_profile(write('model = "m"\n[prompt]\nfile = "prompt.txt"\n[reply]\nscore = "json"\n'))


def test_a_prompt_file_has_a_limit(write: Write, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(
        ProfileError, match=r"prompt\.txt cannot be read: .*expected at most 1048576 bytes, found 1048577"
    ):
        read_profile(write('model = "m"\n[prompt]\nfile = "prompt.txt"\n[reply]\nscore = "json"\n'))


@pytest.mark.parametrize(
    "pattern", [pytest.param(r"(?:a|aa)+$b(\d)", marks=pytest.mark.slow), r"Балл:(?:\w|\w\w)+$!(\d)"]
)
def test_a_pattern_that_backtracks_is_refused(pattern: str, write: Write) -> None:
    with pytest.raises(ProfileError, match="pattern: expected one that is quick in any reply"):
        read_profile(write(SMALL.replace('"tag"', f"\"regex\"\npattern = '{pattern}'")))


def test_a_pattern_that_two_libraries_may_read_otherwise_is_refused(write: Write) -> None:
    with pytest.raises(ProfileError, match=r"pattern: expected a regular expression of Python, Possible nested set"):
        read_profile(write(SMALL.replace('"tag"', "\"regex\"\npattern = '[[:alpha:]](\\d)'")))


@pytest.mark.parametrize(
    "pattern",
    [
        r"Балл: (\d+)",
        r"(?:\d+)+x(\d)",
        r"\[RESULT\](?:\s*\w+)*!(\d)",
        r".*Оценка:\s*(\d)",
        r"(?s).*?\*{0,2}Оценка\*{0,2}\s*[:=]?\s*(\d+(?:[.,]\d+)?)",
        r"(\d+)\s*\Z",
    ],
)
def test_a_pattern_as_they_are_written_is_quick_enough(pattern: str, write: Write) -> None:
    profile = read_profile(write(SMALL.replace('"tag"', f"\"regex\"\npattern = '{pattern}'")))
    assert profile.score.pattern == pattern


def test_a_name_means_the_homes_file_before_the_packaged_one(write: Write, tmp_path: Path) -> None:
    assert find_profile("pollux-4b", tmp_path).model == "ai-forever/Pollux-4B-Judge"
    path = write(SMALL, "judges/pollux-4b.toml")
    assert own_profiles(tmp_path) == [path]
    assert find_profile("pollux-4b", tmp_path).model == "mine/judge"
    assert find_profile(str(path)).model == "mine/judge"
    assert find_profile("pollux-4b").model == "ai-forever/Pollux-4B-Judge"


def test_an_unknown_name_is_told_the_known_ones(write: Write, tmp_path: Path) -> None:
    write(SMALL, "judges/mine.toml")
    with pytest.raises(ProfileError) as raised:
        find_profile("pollux-5b", tmp_path)
    for known in ("pollux-4b", "mine", f"the name of one in {tmp_path / 'judges'}", "'pollux-5b'"):
        assert known in str(raised.value)
    for typo, meant in (("pollux4b", "pollux-4b"), ("miine", "mine")):
        with pytest.raises(ProfileError, match=f"got '{typo}'; did you mean {meant}\\?$"):
            find_profile(typo, tmp_path)


def test_the_judges_of_the_cards_table_prometheus_and_openai_have_profiles() -> None:
    others = {"prometheus-7b-v2.0", "prometheus-8x7b-v2.0", "openai", "openai-reasoning", "json", "demo"}
    assert CARD_TABLE | others | {"pollux-4b-no-heading"} <= set(packaged_profiles())


@pytest.mark.parametrize("name", packaged_profiles())
def test_a_packaged_profile_has_its_sources_and_a_whole_prompt(name: str) -> None:
    profile = packaged_profile(name)
    assert profile.sources
    assert profile.description
    assert profile.license or name == "json"
    assert profile.has_met_weights == (name == "demo")
    texts = [f"«{placeholder}»" for placeholder in PLACEHOLDERS]
    with_reference = render(profile.template, *texts)
    without = render(profile.template, texts[0], None, *texts[2:])
    assert all(with_reference.count(text) == 1 for text in texts)
    assert all(without.count(text) == (text != "«reference_answer»") for text in texts)
    assert "{" not in with_reference + without


@pytest.mark.parametrize("name", packaged_profiles())
def test_a_copied_profile_is_the_same_judge(name: str, tmp_path: Path) -> None:
    if packaged_profile(name).weights is not None:
        pytest.skip("its weights lie in the package")
    shutil.copy(FOLDER / "pollux.prompt.txt", tmp_path)
    shutil.copy(FOLDER / f"{name}.toml", tmp_path / "copy.toml")
    assert read_profile(tmp_path / "copy.toml").identity().judge_id == packaged_profile(name).identity().judge_id


def test_no_two_packaged_profiles_are_the_same_judge() -> None:
    ids = [packaged_profile(name).identity().judge_id for name in packaged_profiles() if name != "demo"]
    assert len(set(ids)) == len(ids)


def test_the_thinking_judges_are_asked_in_the_same_words() -> None:
    others = CARD_TABLE - {"pollux-4b", "pollux-7b", "pollux-32b"}
    assert len({packaged_profile(name).system_message for name in others}) == 1
    assert {packaged_profile(name).score.format for name in others} == {ReplyFormat.SCORE_AFTER_REASONING}


@pytest.mark.parametrize("name", sorted({"prometheus-7b-v2.0", "prometheus-8x7b-v2.0"}))
def test_prometheus_replies_are_read(name: str) -> None:
    profile = packaged_profile(name)
    reply = MessageParts("Feedback: The response is accurate. [RESULT] 4", None)
    read = read_reply(profile, reply, "stop", (1.0, 2.0, 3.0, 4.0, 5.0))
    assert (read.status, read.score) == (VerdictStatus.OK, 4.0)
    assert read.rationale == "Feedback: The response is accurate."
