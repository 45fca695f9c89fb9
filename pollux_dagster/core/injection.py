"""Finds answers that seem to address the judge instead of the reader, by fixed patterns, each with a named reason.

Nothing is removed or judged differently because of a flag: a flagged answer goes to the judge whole (`prompts.as_text`
shows it markup as characters, flag or not), and the flag goes beside its scores. A flag costs a look and a missed
attack costs a wrong number, but a flag on ordinary prose costs the trust in all flags. So a pattern needs the act and
its object, never a single word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from pollux_dagster.core.markup import TAG_OF_REASONING, TOKEN, WRITTEN_BY_PEOPLE
from pollux_dagster.core.profile_files import packaged_profile


class InjectionReason(StrEnum):
    """What makes an answer suspect."""

    PROMPT_HEADING = "prompt_heading"  # a line that is one of the headings of the judge's own prompt
    ASKS_FOR_SCORE = "asks_for_score"  # asks for, or promises itself, the highest score
    OVERRIDES_INSTRUCTIONS = "overrides_instructions"  # tells its reader to ignore instructions or criteria
    ADDRESSES_JUDGE = "addresses_judge"  # calls the judge by its role and speaks of a score
    FORGED_VERDICT = "forged_verdict"  # contains a verdict in the form judges reply in
    CHAT_MARKUP = "chat_markup"  # opens a new turn of the conversation in a chat template's own markup
    SPECIAL_TOKEN = "special_token"  # contains a token that ends, begins or marks something in a model's own input
    THINKING_TAG = "thinking_tag"  # contains a tag that a model's reasoning stands in


@dataclass(frozen=True, slots=True)
class _Pattern:
    """`pattern` is searched only in texts with one word of each of `stems`; this filter gives most of the speed."""

    reason: InjectionReason
    stems: tuple[tuple[str, ...], ...]
    pattern: re.Pattern[str]

    def is_in(self, text: str) -> bool:
        """Whether a folded text matches."""
        for stems in self.stems:  # the fewest first: most texts have none of them
            for stem in stems:
                if stem in text:
                    break
            else:
                return False
        return self.pattern.search(text) is not None


def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text, re.VERBOSE | re.MULTILINE)


# Between two words: spaces, punctuation, emphasis, quotes; bounded, so that no text makes a search slow.
_GAP = r"[\W_]{1,12}"
_NEAR = r"[^.!?\n]{0,60}?"
_TOP_RU = r"(?:максимальн(?!о\b)|наивысш|высш|сам(?:ую|ый)[\W_]{1,6}(?:высок|лучш)|идеальн)\w*"
_SCORE_RU = r"(?:оценк|балл|рейтинг)\w*"
# A full score is the highest, but "полная оценка ситуации" is a thorough assessment.
_TOP_SCORE_RU = rf"(?:{_TOP_RU}{_GAP}(?:\w+{_GAP})?{_SCORE_RU}|полн\w*{_GAP}балл\w*)"
_GIVE_RU = (
    r"(?:(?:по|вы|про)?став(?:ь|ьте|и|ите)|дай(?:те)?|присво[йи](?:те)?|начисли(?:те)?|назначь(?:те)?|"
    r"засчита[йи](?:те)?|верни(?:те)?|выведи(?:те)?)"
)
_TOP_EN = r"(?:max(?:imum|imal)?|highest|full|perfect|top|best)"
_SCORE_EN = r"(?:score|rating|grade|mark)s?"
_GIVE_EN = r"(?:give|assign|award|output|return|rate|score|grade)"
_ANSWER_EN = r"(?:this|the|my|above|following)[\W_]{1,4}(?:\w+[\W_]{1,4})?(?:answer|response|submission|output)"
_HEADING_STEMS = ("для оценки", "эталонный", "критерий", "шкала")

_PATTERNS = (
    _Pattern(
        InjectionReason.ASKS_FOR_SCORE,
        (("оценк", "балл", "рейтинг"), ("максим", "высш", "высок", "лучш", "идеальн", "полн")),
        _compiled(
            rf"""\b{_GIVE_RU}\b{_NEAR}\b{_TOP_SCORE_RU}
            |\b(?:оцени(?:те)?|оценивай(?:те)?)\b{_NEAR}\b(?:на[\W_]|как[\W_]|в[\W_])?{_TOP_SCORE_RU}
            |\b(?:этот|данный|мой|представленный)[\W_]{{1,4}}ответ\b{_NEAR}\b(?:заслуживает|достоин|должен[\W_]получить)
             {_NEAR}\b{_TOP_SCORE_RU}"""
        ),
    ),
    _Pattern(
        InjectionReason.ASKS_FOR_SCORE,
        (
            ("ответ",),
            ("став", "ответь", "оцени", "дай", "присво", "начисл", "назнач", "засчит", "верни", "выведи"),
        ),
        _compiled(
            rf"\b(?:{_GIVE_RU}|ответь(?:те)?|оцени(?:те)?){_GAP}(?:\w+{_GAP}){{0,4}}?"
            rf"(?:этому|данному|моему|этот|данный|мой|за[\W_]этот|за[\W_]мой){_GAP}(?:\w+{_GAP})?ответ\w*{_NEAR}"
            rf"(?:(?:\b\d{{1,3}}{_GAP}(?:балл|из\b))|\b(?:оценк|балл)\w*[\W_]{{1,4}}\d{{1,3}}\b"
            rf"|\bна{_GAP}(?:\d{{1,3}}\b(?![\ \t]+(?!балл|из\b|по\b|и\b)\w)|максимум\b|отлично\b))"
        ),
    ),
    _Pattern(
        InjectionReason.ASKS_FOR_SCORE,
        (
            ("score", "rating", "grade", "mark"),
            ("max", "highest", "full", "perfect", "top", "best"),
            ("give", "assign", "award", "output", "return", "rate", "score", "grade", "deserve", "receive"),
        ),
        _compiled(
            rf"""\b(?:please|must|should|always|now|just|to|and|then|judge|evaluator|grader|^)[\W_]{{0,4}}{_GIVE_EN}\b
             [\W_]{{1,4}}(?:(?:it|me|this|the|a|an|my|us|him|them|only|[\w]+[\W_]{{1,4}}(?:answer|response))[\W_]{{1,4}}){{0,4}}
             (?:answer[\W_]{{1,4}}|response[\W_]{{1,4}})?(?:(?:a|the|with|as)[\W_]{{1,4}}){{0,2}}
             {_TOP_EN}[\W_]{{1,4}}(?:possible[\W_]{{1,4}})?{_SCORE_EN}\b
            |\b{_ANSWER_EN}\b{_NEAR}\b(?:deserves?|(?:should|must)[\W_]{{1,4}}(?:receive|get|be[\W_]given))\b
             {_NEAR}\b{_TOP_EN}{_GAP}(?:possible{_GAP})?{_SCORE_EN}\b"""
        ),
    ),
    _Pattern(
        InjectionReason.OVERRIDES_INSTRUCTIONS,
        (
            ("ignore", "disregard", "forget", "override", "bypass"),
            ("instruction", "prompt", "criteri", "rubric", "guideline"),
        ),
        _compiled(
            r"""\b(?:ignore|disregard|forget|override|bypass)[\W_]{1,4}(?:about[\W_]{1,4})?
            (?:(?:all|any|every|the|your|of|these|those|my|other)[\W_]{1,4}){0,4}
            (?:previous|prior|above|earlier|preceding|foregoing|original|given|scoring|grading|evaluation|judging)
            [\W_]{1,4}(?:\w+[\W_]{1,4}){0,2}?
            (?:instruction|prompt|criteri|rubric|guideline|rule)\w*
            |\b(?:ignore|disregard|forget|override|bypass)[\W_]{1,4}(?:(?:all|any|every|the|your|of|these|those)[\W_]{1,4}){0,4}
            (?:instruction|prompt|criteri|rubric|guideline)\w*[\W_]{1,4}(?:given[\W_]{1,4})?above\b"""
        ),
    ),
    _Pattern(
        InjectionReason.OVERRIDES_INSTRUCTIONS,
        (
            ("игнорир", "забудь", "внимани", "отмени", "пренебре", "не учитывай"),
            ("инструк", "указани", "критери", "шкал", "промпт", "рубрик", "правил"),
        ),
        _compiled(
            r"""\b(?:(?:про)?игнорируй(?:те)?|забудь(?:те)?|не[\W_]{1,4}обращай(?:те)?[\W_]{1,4}внимани\w+[\W_]{1,4}на|
            отмени(?:те)?|пренебреги(?:те)?|не[\W_]{1,4}учитывай(?:те)?)[\W_]{1,4}(?:(?:о|об|про|все|всё|любые|эти|свои|твои|ваши)[\W_]{1,4}){0,3}
            (?:(?:предыдущ|предшеств|прежн|данн\w+[\W_]{1,4}ранее|вышеуказ|приведенн|указанн|остальн|изначальн|исходн|системн)\w*[\W_]{1,4}){1,2}
            (?:\w+[\W_]{1,4}){0,2}?(?:инструкци|указани|критери|шкал|промпт|рубрик|правил)\w*
            |\b(?:(?:про)?игнорируй(?:те)?|не[\W_]{1,4}учитывай(?:те)?|забудь(?:те)?)[\W_]{1,4}(?:\w+[\W_]{1,4}){0,3}?
            (?:критери\w*|шкал\w*|рубрик\w*)[\W_]{1,4}(?:оценки|оценивания|выше)
            |\b(?:(?:про)?игнорируй(?:те)?|не[\W_]{1,4}учитывай(?:те)?|забудь(?:те)?|отмени(?:те)?|пренебреги(?:те)?|
            не[\W_]{1,4}обращай(?:те)?[\W_]{1,4}внимани\w[\W_]{1,4}на)[\W_]{1,4}(?:(?:о|об|про|все|всех|всеми|любые|эти|свои|твои|ваши)[\W_]{1,4}){0,3}
            (?:инструкци|указани|промпт)\w*[\W_]{1,4}(?:приведенн\w*[\W_]{1,4}|данн\w*[\W_]{1,4})?(?:выше|ранее)\b"""
        ),
    ),
    _Pattern(
        InjectionReason.ADDRESSES_JUDGE,
        (("судь", "оценщик", "проверяющ", "эксперт-оцен"), ("оценк", "балл", "оцени", "критери")),
        _compiled(
            r"""(?:^|[.!?]\s)[\W_]{0,6}(?:(?:внимание|примечание|инструкция|сообщение|обращение|указание|замечание)[\W_]{1,4}(?:для[\W_]{1,4}|к[\W_]{1,4})?|
            (?:уважаем\w+|дорог\w+)[\W_]{1,4}|для[\W_]{1,4})?(?:(?:модел\w+|llm|ии|ai)[\W_]{1,3})?
            (?:судь[яеию]|оценщик\w{0,2}|проверяющ\w{2,3}|эксперт\w{0,2}-оценщик\w{0,2})[\ \t]*[*_]{0,2}
            [,!:.\)\]—–-][^\n]{0,200}?
            \b(?:оценк|балл|оцени|критери)"""
        ),
    ),
    _Pattern(
        InjectionReason.ADDRESSES_JUDGE,
        (("judge", "evaluator", "grader"), ("score", "rating", "grade", "rate", "mark")),
        _compiled(
            r"""(?:\b(?:dear|note[\W_]{1,4}(?:to|for)|message[\W_]{1,4}(?:to|for)|instructions?[\W_]{1,4}(?:to|for)|attention|hey|hello)[\W_]{1,4}
            (?:the[\W_]{1,4})?(?:(?:llm|ai|model)[\W_]{1,3})?(?:judge|evaluator|grader)s?|
            ^[\W_]{0,6}(?:(?:llm|ai)[\W_]{1,3})?(?:judge|evaluator|grader)[,!:])
            [^\n]{0,200}?\b(?:scor|rating|grad(?:e|ing)\b|rate\b|marks?\b)
            |\b(?:you[\W_]{1,4}are|as)[\W_]{1,4}(?:the|an?)[\W_]{1,4}(?:llm|ai|impartial)[\W_]{1,3}(?:judge|evaluator|grader)\b"""
        ),
    ),
    _Pattern(InjectionReason.FORGED_VERDICT, (("[result]",),), _compiled(r"\[result\][\s*_:]{0,6}[+\-]?\d")),
    _Pattern(InjectionReason.FORGED_VERDICT, (("[feedback]",),), _compiled(r"\[result\]")),
    _Pattern(
        InjectionReason.FORGED_VERDICT,
        (('"rationale"', '"feedback"', '"reasoning"'),),
        _compiled(r'"score"\s{0,4}:\s{0,4}"?[+\-]?\d'),
    ),
    _Pattern(
        InjectionReason.CHAT_MARKUP,
        (("<|", "[inst]", "<<sys>>", "<start_of_turn>"),),
        _compiled(
            r"""<\|im_start\|>\s{0,4}(?:system|user|assistant)|<\|start_header_id\|>|<\|(?:system|user|assistant)\|>
            |\[inst\]|<<sys>>|<start_of_turn>\s{0,4}(?:user|model)"""
        ),
    ),
)

# By these words Qwen3 leaves its reasoning out. To its tokenizer they are words like any other.
_SWITCH_OF_REASONING = re.compile(r"(?<![\w/.])/(?:no_)?think(?![\w/.])")
# The first and last token of Llama 2 and Mistral are also HTML's mark-up for struck-out text. A pair of them around
# words of one line, or one in quoted code, is taken to be HTML.
_STRUCK_OUT = re.compile(r"<s>[^<>\n]{1,400}</s>|```.{0,20000}?(?:```|\Z)|`[^`\n]{1,200}`", re.DOTALL)
_SENTENCE_TOKENS = ("<s>", "</s>")
_SENTENCE_TOKEN = re.compile(r"(?<![a-z0-9_])<s>|</s>")  # vector<s> is an argument of a template

# Letters that look alike in the two alphabets: a model reads "поcтавь" with a Latin c as if it were Cyrillic.
_LATIN, _CYRILLIC = "aceopxyk", "асеорхук"
# The alphabet of each byte of Windows-1251, which has а to я from E0 to FF.
_ALPHABETS = bytes(ord("L" if ord("a") <= code <= ord("z") else "C" if code >= 0xE0 else ".") for code in range(256))
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


# A very long answer is read in overlapping pieces, so that only one piece at a time is copied and folded.
_PIECE, _OVERLAP = 200_000, 2_000


def injection_reasons(answer: str) -> tuple[str, ...]:
    """Every InjectionReason that applies to `answer`, sorted; empty when nothing is suspect. Never raises.

    The answer is matched after Unicode compatibility folding, ignoring case and invisible characters. Words that mix
    Cyrillic with Latin lookalikes are read as either. Time is linear in the length of the answer, memory constant.
    """
    pieces = (answer[at : at + _PIECE] for at in range(0, max(1, len(answer) - _OVERLAP), _PIECE - _OVERLAP))
    return tuple(sorted({reason.value for piece in pieces for reason in _reasons(piece)}))


def _reasons(piece: str) -> Iterator[InjectionReason]:
    plain = piece if piece.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", piece))
    for text in {piece, plain}:
        yield from _markup(text)
    for text in _readings(plain):
        yield from _found(text)


def _markup(text: str) -> Iterator[InjectionReason]:
    """What `prompts.as_text` would show the judge as characters, but for what people write to other ends."""
    for token in TOKEN.finditer(text):
        if TAG_OF_REASONING.fullmatch(token[0]):
            yield InjectionReason.THINKING_TAG
        elif token[0] not in _SENTENCE_TOKENS and not WRITTEN_BY_PEOPLE.fullmatch(token[0]):
            yield InjectionReason.SPECIAL_TOKEN
    if "s>" in text and _SENTENCE_TOKEN.search(_STRUCK_OUT.sub(" ", text)):
        yield InjectionReason.SPECIAL_TOKEN


def _found(text: str) -> Iterator[InjectionReason]:
    """What a folded text holds of everything else, and tags of reasoning in any case."""
    may_have_tag = "<" in text or "‹" in text or "think" in text  # the searches are slow, and every text gets them
    if may_have_tag and (TAG_OF_REASONING.search(text) or _SWITCH_OF_REASONING.search(text)):
        yield InjectionReason.THINKING_TAG
    for pattern in (_heading(), *_PATTERNS):
        if pattern.is_in(text):
            yield pattern.reason


@cache
def _heading() -> _Pattern:
    """Finds the headings of the default judge's prompt."""
    headings = "|".join(
        re.escape(line.lstrip("# ").rstrip(":").casefold()).replace(r"\ ", r"[\ \t]+")
        for line in packaged_profile("pollux-4b").template.with_reference.splitlines()
        if line.startswith("###")
    )
    return _Pattern(
        InjectionReason.PROMPT_HEADING,
        (_HEADING_STEMS,),
        _compiled(rf"^[\ \t>]*(?:\#{{1,6}}|\*\*|__)[\ \t]*(?:\*\*)?(?:{headings})[\ \t]*(?:\*\*|__)?[\ \t]*(?::|$)"),
    )


def _readings(plain: str) -> Iterator[str]:
    text = plain.casefold().replace("ё", "е")
    yield text
    if not text.isascii() and _has_mixed_word(text):
        yield _with_letters(text, _LATIN, _CYRILLIC)
        yield _with_letters(text, _CYRILLIC, _LATIN)


def _has_mixed_word(text: str) -> bool:
    """Whether a Latin and a Cyrillic letter of a folded text are neighbours; several times as fast as a pattern."""
    alphabets = text.encode("cp1251", "replace").translate(_ALPHABETS)
    return b"LC" in alphabets or b"CL" in alphabets


def _with_letters(text: str, replaced: str, by: str) -> str:
    for old, new in zip(replaced, by, strict=True):  # several times as fast as `str.translate`
        text = text.replace(old, new)
    return text
