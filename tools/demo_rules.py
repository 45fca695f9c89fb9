"""The demo judge's five criteria as exact rules: text in, rationale and score out.

Nothing is generated or trained here. The idea: a criterion that a 1.8M-parameter model shall learn must be exact,
so repeats, foreign words and endings are rules over the text alone, and the rules can label any Russian answer.
Each rationale quotes what it saw before it judges: a small model compares two quotes well, and distant texts badly.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

CRITERIA_FILE = Path(__file__).resolve().parents[1] / "pollux_dagster" / "taxonomy" / "criteria.json"
CONJUNCTIONS = ("и", "а", "но", "или", "что", "как", "в", "на", "с", "по", "для", "это")
_ROMAN = re.compile(r"[IVXLCDM]+")
_FOREIGN_WORD = re.compile(r"[A-Za-z\u4e00-\u9fff][A-Za-z\u4e00-\u9fff'’-]*")
_FOREIGN_RUN = re.compile(rf"{_FOREIGN_WORD.pattern}(?:[ ,.!?:;]*{_FOREIGN_WORD.pattern})*")
_LIST_LINE = re.compile(r"(?:[-*•]|\d+[.)])\s+\S")


def load_criteria(path: Path = CRITERIA_FILE) -> dict[str, tuple[str, str]]:
    """Read ``{key: (Russian name, rubrics)}``; rubrics are "level: text" lines, levels ascending."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    result = {}
    for key, entry in raw.items():
        scale = sorted(entry["scale"]["ru"].items(), key=lambda level: float(level[0]))
        result[key] = (entry["name"]["ru"], "\n".join(f"{level}: {text}" for level, text in scale))
    return result


def rule_on_repetition(answer: str) -> tuple[str, str]:
    """Count the most frequent run of three words. Returns (rationale, score)."""
    spans = [(m.group().lower(), m.start(), m.end()) for m in re.finditer(r"\w+", answer)]
    counts: dict[tuple[str, ...], int] = {}
    where: dict[tuple[str, ...], tuple[int, int]] = {}
    for first, second, third in zip(spans, spans[1:], spans[2:], strict=False):
        gram = (first[0], second[0], third[0])
        counts[gram] = counts.get(gram, 0) + 1
        where.setdefault(gram, (first[1], third[2]))
    most = max(counts.values(), default=1)
    if most == 1:
        return "Повторов нет.", "2"
    start, end = where[next(gram for gram, count in counts.items() if count == most)]
    times, score = ("дважды", "1") if most == 2 else ("много раз", "0")
    return f"Повтор: «{answer[start:end]}». Встречается {times}.", score


def foreign_runs(answer: str) -> list[str]:
    """Runs of Latin or Chinese words; Roman numerals, single letters and formulas do not count."""
    runs = []
    for match in _FOREIGN_RUN.finditer(answer):
        tokens = _FOREIGN_WORD.findall(match.group())
        if any((len(x) > 1 or x > "z") and not _ROMAN.fullmatch(x) for x in tokens):
            runs.append(match.group())
    return runs


def rule_on_foreign(answer: str) -> tuple[str, str]:
    """Quote the first two foreign runs one after the other: whether there is a second is then a local question."""
    quotes = [
        "иероглифы" if run[0] > "z" else " ".join(run.split(" ")[:2]).rstrip(",.!?:;")
        for run in foreign_runs(answer)[:2]
    ]
    if not quotes:
        return "Вставок нет.", "2"
    if len(quotes) == 1:
        return f"Вставки: «{quotes[0]}», других нет.", "1"
    return f"Вставки: «{quotes[0]}», «{quotes[1]}». Их много.", "0"


def rule_on_ending(answer: str) -> tuple[str, str]:
    """Look at the last character: an end mark, a one- or two-word answer or a list item is finished."""
    text = answer.strip()
    if not text:
        return "Ответ пуст.", "0"
    bare = text.rstrip('»"”)*_ ')
    if bare.endswith(("...", "…")):
        return "Последний знак: многоточие. Мысль оборвана.", "0"
    last = bare[-1:] or text[-1]
    seen = f"Последний знак: {'буква' if last.isalpha() else 'цифра' if last.isdigit() else f'«{last}»'}."
    if last in ".!?":
        return f"{seen} Это конец.", "1"
    dangling = last in ",:;-—" or text.split()[-1] in CONJUNCTIONS
    if not dangling and len(text.split()) <= 2:
        return f"{seen} Короткий ответ.", "1"
    if not dangling and _LIST_LINE.match(text.splitlines()[-1]):
        return f"{seen} Пункт списка.", "1"
    return f"{seen} Знака конца нет.", "0"


def rule_on_refusal(answer: str, refuses: bool) -> tuple[str, str]:
    """Quote the opening under the prompt's own heading, so that quoting is copying; then name what it is."""
    if not answer.strip():
        return "Ответ пуст.", "1"
    opening = " ".join(answer.split()[:3])
    return f"Ответ для оценки:\n{opening}\n{'Это отказ.' if refuses else 'Это ответ.'}", "1" if refuses else "0"


def quotes(true: str, said: str | None) -> str:
    """Quote what the answer says and what the reference says, ready to be compared.

    The first digits of two numbers are quoted once more: the later ones are found by the digits before them, but many
    quotes begin with the same mark, and a small model takes 637 for 137.
    """
    both = f"В ответе: {f'«{said}»' if said else 'нет'}. В эталоне: «{true}»."
    return f"{both} Первые цифры: {said[0]} и {true[0]}." if said and (said[0] + true[0]).isdigit() else both


def rule_on_agreement(
    parts: Sequence[tuple[str, str | None, bool]], reference: str | None, answer: str
) -> tuple[str, str]:
    """Compare part by part; ``parts`` holds (words of the reference, words of the answer or None, do they agree).

    The answer is quoted before the reference: the other way round a small model repeats the reference.
    """
    if reference is None:
        return "Эталона нет.", "0"
    if not answer.strip():
        return "Ответ пуст.", "0"
    lines = [f"{quotes(true, said)} {'Совпало.' if agrees else 'Не совпало.'}" for true, said, agrees in parts]
    agreed = sum(agrees for _, _, agrees in parts)
    verdict, score = ("полное", "2") if agreed == len(parts) else ("нет", "0") if agreed == 0 else ("частичное", "1")
    return "\n".join([*lines, f"Согласие: {verdict}."]), score
