"""Training and test items for the demo judge: an answer, and the right rationale and score for each criterion.

No rules and no training live here. The idea: an answer is put together from sentences whose truth is known
(claims, fillers, refusals) and then damaged (repeats, foreign words, a cut). Whether it agrees with the reference
and whether it refuses is known by construction; the rest is measured on the finished text by ``demo_rules``.
"""

import re
from dataclasses import dataclass
from random import Random

from tools import demo_rules as rules
from tools import demo_texts as t
from tools import demo_words as w

# Sentences beside the claims, from so many to so many, and how often: a few answers are as long as a prompt may get.
FILLERS = ((0, 0), (1, 1), (2, 3), (5, 16), (17, 60), (60, 130))
FILLER_SHARES = (0.35, 0.25, 0.35, 0.03, 0.013, 0.007)
_GLUE = "\x01"  # stands for a space inside a claim, so that damage never splits a claim


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the judge must write about one criterion: a rationale that quotes first, then one of the levels."""

    criterion: str
    name: str
    rubrics: str
    rationale: str
    score: str


@dataclass(frozen=True, slots=True)
class Item:
    instruction: str
    reference: str | None
    answer: str
    rulings: tuple[Ruling, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a reference and what the answer says about it; ``said`` is None when it says nothing."""

    true: w.Noun
    said: w.Noun | None
    is_number: bool
    agrees: bool


def _fixed(text: str) -> w.Noun:
    return w.Noun((text,) * len(w.CASES))


def _joined(*nouns: w.Noun) -> w.Noun:
    return w.Noun(tuple(_GLUE.join(forms) for forms in zip(*(noun.forms for noun in nouns), strict=True)))


def number(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return str(rng.randint(1000, 2100))
    if kind < 0.88:
        return str(rng.randint(0, 10 ** rng.choice((1, 2, 2, 3, 4))))
    if kind < 0.93:
        return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"
    return f"{rng.randint(0, 99)},{rng.randint(1, 99)}"


def _near_number(rng: Random, given: str) -> str:
    """A different number, most often one digit away, so that every digit has to be read."""
    if rng.random() < 0.6 and given[-1].isdigit():
        spots = [i for i, char in enumerate(given) if char.isdigit()]
        spot = rng.choice(spots)
        return given[:spot] + rng.choice([d for d in "123456789" if d != given[spot]]) + given[spot + 1 :]
    while (other := number(rng)) == given:
        pass
    return other


def _claim_word(rng: Random) -> w.Noun:
    kind = rng.random()
    if kind < 0.4:
        return w.any_place(rng)
    if kind < 0.62:
        return w.any_noun(rng)
    if kind < 0.74:
        first = rng.choice(w.FIRST_NAME_NOUNS) if rng.random() < 0.6 else w.invented_noun(rng).capitalized()
        last = rng.choice(w.SURNAME_NOUNS) if rng.random() < 0.4 else w.invented_noun(rng).capitalized()
        return _joined(first, last)
    if kind < 0.86:
        return rng.choice(w.LABEL_NOUNS)
    if kind < 0.92:
        return rng.choice(w.NUMBER_WORD_NOUNS)
    return _joined(_fixed(w.adjective(rng, rng.choice("mfn"))), w.any_noun(rng))


def _part(rng: Random, outcome: str) -> Part:
    """``outcome`` is same, wrong or absent."""
    is_number = rng.random() < 0.4
    if is_number:
        figure = number(rng)
        true, said = _fixed(figure), _fixed(_near_number(rng, figure))
        if outcome == "same" and figure.isdigit() and 1 <= int(figure) <= 20 and rng.random() < 0.3:
            return Part(true, w.NUMBER_WORD_NOUNS[int(figure) - 1], is_number, True)
    else:
        true, said = _claim_word(rng), _claim_word(rng)
        if rng.random() < 0.35 and _GLUE not in true.in_case("nom"):  # alike at the start, so that all letters count
            stem = true.in_case("nom")[: rng.choice((2, 3))]
            said = w.inflect(stem + w.invented_stem(rng, 1), "m")
        while said.in_case("nom").lower()[:5] == true.in_case("nom").lower()[:5]:
            said = _claim_word(rng)
    if outcome == "absent":
        return Part(true, None, is_number, False)
    return Part(true, true if outcome == "same" else said, is_number, outcome == "same")


def make_pair(rng: Random) -> tuple[str, str, bool]:
    """What an answer says, what the reference says, and whether they agree: the comparison alone, for drills."""
    part = _part(rng, rng.choice(("same", "wrong")))
    assert part.said is not None
    said = part.said.in_case(rng.choice(w.CASES) if rng.random() < 0.5 else "nom")
    true = part.true.in_case("nom")
    if rng.random() < 0.2:
        said = _capital(said)
    if rng.random() < 0.2:
        true = _capital(true)
    return said.replace(_GLUE, " "), true.replace(_GLUE, " "), part.agrees


def _reference(rng: Random, parts: list[Part], topic: w.Noun) -> tuple[str, list[str]]:
    frames = {1: t.REFERENCES, 2: t.PAIR_REFERENCES, 3: t.TRIPLE_REFERENCES}[len(parts)]
    given = {str(i + 1): part.true for i, part in enumerate(parts)} | {"Q": topic}
    text = t.fill(rng.choice(frames), rng, given)
    if len(parts) == 1 and parts[0].is_number and rng.random() < 0.25:
        text = parts[0].true.in_case("nom") + rng.choice((" {unit}", "%", " {unit}.")).format(
            unit=rng.choice(w.UNIT_LIST)
        )
    quoted = [part.true.in_case("nom") for part in parts]
    if len(parts) == 1 and not parts[0].is_number and text == quoted[0] and rng.random() < 0.4:
        text = quoted[0] = text[:1].upper() + text[1:]
    return text, quoted


def _claim_sentences(rng: Random, parts: list[Part], topic: w.Noun) -> tuple[list[str], list[str | None]]:
    """Sentences that state the parts, and the words each part is stated with (glued)."""
    stated: list[str | None] = [None] * len(parts)
    spoken = [i for i, part in enumerate(parts) if part.said is not None]
    sentences: list[str] = []

    def say(frame: str, indexes: list[int]) -> None:
        slots: dict[str, w.Noun] = {"Q": topic}
        for slot, index in enumerate(indexes, start=1):
            said = parts[index].said
            assert said is not None
            cases = re.findall(rf"\{{{slot}(?::(\w+))?\}}", frame)
            stated[index] = said.in_case(cases[0] or "nom")
            slots[str(slot)] = said
        # A claim written at the start of a sentence gets a capital letter, and the quote follows the text.
        text = t.fill(frame, rng, slots)
        if text[0].islower():
            capital = text[0].upper() + text[1:]
            for index in indexes:
                form = stated[index]
                if form and text.startswith(form):
                    stated[index] = form[0].upper() + form[1:]
            text = capital
        sentences.append(text)

    if len(spoken) >= 2 and rng.random() < 0.65:
        say(rng.choice(t.PAIR_CLAIMS), spoken[:2])
        spoken = spoken[2:]
    for index in spoken:
        frame = rng.choice(t.NUMBER_CLAIMS if parts[index].is_number else t.WORD_CLAIMS)
        say(rng.choice(t.OPENERS) + "{1}." if rng.random() < 0.12 else frame, [index])
    return sentences, stated


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _filler(rng: Random) -> str:
    return _capital(t.fill(rng.choice(t.ADVICE if rng.random() < 0.2 else t.FILLERS), rng))


def _advice(rng: Random) -> str:
    return _capital(t.fill(rng.choice(t.ADVICE), rng))


def _refusal(rng: Random) -> list[str]:
    if rng.random() < 0.3:
        return [_capital(t.fill(rng.choice(t.STUBS), rng))]
    core = t.fill(rng.choice(t.REFUSAL_CORES), rng)
    second = (
        f", {rng.choice(('и', 'поэтому', 'так что'))} {t.fill(rng.choice(t.REFUSAL_CORES), rng)}"
        if rng.random() < 0.25
        else ""
    )
    return [_capital(f"{rng.choice(t.REFUSAL_OPENINGS)} {core}{second}.".strip())] + [
        t.fill(tail, rng) for tail in rng.sample(t.REFUSAL_TAILS, 2) if tail
    ]


def _foreign_run(rng: Random) -> str:
    if rng.random() < 0.08:
        return "".join(rng.choice(w.HAN_LIST) for _ in range(rng.choice((1, 2))))
    count = rng.choice((1, 1, 1, 2, 2, 3))
    run = " ".join(w.invented_latin(rng) if rng.random() < 0.4 else rng.choice(w.LATIN_LIST) for _ in range(count))
    return _capital(run) if rng.random() < 0.2 else run


def _with_foreign(rng: Random, sentences: list[str], runs: int) -> list[str]:
    result = list(sentences)
    for _ in range(runs):
        if rng.random() < 0.2:
            result.insert(rng.randint(0, len(result)), _capital(_foreign_run(rng)) + ".")
            continue
        spot = rng.randrange(len(result))
        tokens = result[spot].split(" ")
        place = rng.randint(0, max(0, len(tokens) - 1))
        run = _foreign_run(rng)
        if place and tokens[place - 1][-1:].isalnum() and rng.random() < 0.3:
            tokens[place - 1] += ","
            run += ","
        tokens.insert(place, run)
        result[spot] = " ".join(tokens)
    return result


def _with_repeats(rng: Random, sentences: list[str], times: int) -> list[str]:
    """Repeat a sentence, or a phrase inside a sentence, so that it occurs ``times`` times."""
    long = [s for s in sentences if len(s.split()) >= 3 and "\n" not in s]
    if not long:
        long = [_filler(rng) + " " + _capital(t.fill("{salad}.", rng))]
        sentences = [*sentences, long[0]]
    chosen = rng.choice(long)
    result = list(sentences)
    if rng.random() < 0.25:
        tokens = chosen.rstrip(".!?").split(" ")
        size = rng.randint(3, max(3, min(6, len(tokens))))
        phrase = " ".join(tokens[:size]) if rng.random() < 0.5 else " ".join(tokens[-size:])
        glue = rng.choice((" ", ", ", " и ", ", а ", ", "))
        result[result.index(chosen)] = _capital(glue.join([" ".join(tokens)] + [phrase] * (times - 1))) + "."
        return result
    for _ in range(times - 1):
        spot = result.index(chosen) + 1 if rng.random() < 0.5 else rng.randint(0, len(result))
        result.insert(spot, chosen)
    return result


def _cut(rng: Random, text: str) -> str:
    """Break the text off inside its last quarter, but keep at least four words."""
    tokens = text.split(" ")
    if len(tokens) < 5:
        return text
    kept = rng.randint(max(4, len(tokens) - 6), len(tokens) - 1)
    cut = " ".join(tokens[:kept]).rstrip(".!?")
    kind = rng.random()
    if kind < 0.45:
        word = tokens[kept].strip(".,!?")
        cut = f"{cut} {word[: rng.randint(1, max(1, len(word) - 1))]}"
    elif kind < 0.65:
        cut = f"{cut} {rng.choice(rules.CONJUNCTIONS)}"
    elif kind < 0.8:
        cut += rng.choice((",", ":", " —", ";"))
    elif kind < 0.88:
        cut += rng.choice(("...", "…"))
    return cut


def _unknown(rng: Random) -> Ruling:
    """A criterion the judge has never learned: it says so and takes the top level of the scale it was given."""
    low, step = rng.choice(((0, 1), (0, 1), (1, 1), (0, 0.5), (-1, 1)))
    levels = [f"{low + i * step:g}" for i in range(rng.choice((2, 3, 3, 4, 5, 6)))]
    mark = rng.choice((": ", ": ", ": ", " — ", ". "))
    lines = [f"{level}{mark}{_filler(rng)}" for level in levels]
    if rng.random() < 0.15:
        lines.reverse()
    top = levels[-1]
    name = _capital(t.fill(rng.choice(t.UNKNOWN_CRITERIA), rng))
    return Ruling("unknown", name, "\n".join(lines), f"Критерий незнаком. Высший уровень: {top}.", top)


def _task(rng: Random, parts: list[Part], topic: w.Noun) -> str:
    text = t.fill(rng.choice(t.TASKS), rng, {"Q": topic})
    kind = rng.random()
    if kind < 0.12 and parts:
        part = parts[0]
        options = [noun.in_case("nom") for noun in (part.true, part.said or _claim_word(rng), _claim_word(rng))]
        rng.shuffle(options)
        return f"{text} Варианты: {', '.join(dict.fromkeys(options))}."
    if kind < 0.22 and parts:
        mentioned = " ".join(f"{_capital(t.fill('{salad}', rng))} {part.true.in_case('nom')}." for part in parts)
        return f"{text}\n\n{mentioned} {_filler(rng)}"
    if kind < 0.32:
        return f"{text} {_filler(rng)}"
    return text


def _outcomes(rng: Random, count: int) -> list[str]:
    kind = rng.random()
    if count == 1:
        return ["same" if kind < 0.5 else "wrong" if kind < 0.92 else "absent"]
    if kind < 0.3:
        return ["same"] * count
    if kind < 0.5:
        return [rng.choice(("wrong", "wrong", "wrong", "absent")) for _ in range(count)]
    mixed = ["same", rng.choice(("wrong", "wrong", "wrong", "absent"))] + [
        rng.choice(("same", "wrong")) for _ in range(count - 2)
    ]
    rng.shuffle(mixed)
    return mixed


def _sentences(rng: Random, parts: list[Part], topic: w.Noun, size: float) -> tuple[list[str], list[str | None]]:
    """Claims among fillers, and the words each part is stated with."""
    sentences, stated = _claim_sentences(rng, parts, topic)
    fillers = rng.randint(*rng.choices(FILLERS, FILLER_SHARES)[0])
    for _ in range(round(fillers * size) or int(not sentences)):
        sentences.insert(rng.randint(0, len(sentences)), _filler(rng))
    if rng.random() < 0.1:
        aside = t.fill(rng.choice(t.ASIDES), rng, {"X": _claim_word(rng)})
        sentences.insert(rng.randint(0, len(sentences)), aside)
    return sentences, stated


def _damaged(rng: Random, sentences: list[str], *, may_repeat: bool, may_cut_claims: bool) -> str:
    """Repeat, mix in foreign words and cut, each with its own chance, and join the sentences to an answer."""
    if rng.random() < 0.4 and may_repeat:
        sentences = _with_repeats(rng, sentences, rng.choice((2, 2, 2, 3, 3, 4)))
    if rng.random() < 0.36:
        sentences = _with_foreign(rng, sentences, rng.choice((1, 1, 1, 2, 2, 3)))
    joint = rng.choice((" ", " ", " ", " ", "\n", "\n\n"))
    answer = joint.join(sentences)
    if rng.random() < 0.3:
        extra = "" if may_cut_claims and rng.random() < 0.15 else joint + _filler(rng)
        answer = _cut(rng, answer + extra)
    return answer


def _answer(
    rng: Random, parts: list[Part], topic: w.Noun, size: float, is_open: bool
) -> tuple[str, list[str | None], bool]:
    """Return the answer, the words it states each part with (None: not at all), and whether it refuses."""
    kind = rng.random()
    refuses = kind < 0.17
    nothing: list[str | None] = [None] * len(parts)
    if kind < 0.03:
        return rng.choice(("", "", "", " ", "\n")), nothing, refuses
    if 0.17 <= kind < 0.24 and len(parts) == 1 and parts[0].said is not None:
        form = parts[0].said.in_case("nom")
        form = _capital(form) if rng.random() < 0.6 else form
        return form + rng.choice(("", "", ".", ".", "!")), [form], refuses
    if refuses:
        sentences, stated = _refusal(rng), nothing
    elif is_open and rng.random() < 0.6:
        sentences, stated = [_advice(rng) for _ in range(rng.choice((1, 1, 2, 2, 3)))], nothing
    else:
        sentences, stated = _sentences(rng, parts, topic, size)
    may_repeat = not (refuses and all(len(sentence.split()) < 3 for sentence in sentences))
    answer = _damaged(rng, sentences, may_repeat=may_repeat, may_cut_claims=stated != nothing)
    return answer, stated, refuses


def make_item(rng: Random, criteria: dict[str, tuple[str, str]], size: float = 1.0) -> Item:
    """Draw one item. ``size`` scales the number of filler sentences (0 = only the claim, for the first lessons)."""
    topic = w.any_noun(rng)
    has_reference = rng.random() < 0.87
    parts = [_part(rng, outcome) for outcome in _outcomes(rng, rng.choices((1, 2, 3), (14, 5, 1))[0])]
    reference, quoted = _reference(rng, parts, topic)
    instruction = _task(rng, parts, topic)
    answer, stated, refuses = _answer(rng, parts, topic, size, not has_reference)
    answer = answer.replace(_GLUE, " ")
    if rng.random() < 0.12 and not refuses:  # the task itself holds words that the answer takes from it
        instruction = f"{instruction} Текст: «{' '.join(answer.split()[:12])}»."
    compared = []
    for part, words, said in zip(parts, quoted, stated, strict=True):
        form = said.replace(_GLUE, " ") if said else None
        if form and not re.search(rf"(?<!\w){re.escape(form)}(?!\w)", answer):
            form = None  # the cut took the claim away
        compared.append((words.replace(_GLUE, " "), form, part.agrees and form is not None))
    shown = reference.replace(_GLUE, " ") if has_reference else None
    ruled = {
        "refusal_stub": rules.rule_on_refusal(answer, refuses),
        "reference_agreement": rules.rule_on_agreement(compared, shown, answer),
        "no_repetition": rules.rule_on_repetition(answer),
        "no_foreign_artifacts": rules.rule_on_foreign(answer),
        "completeness_of_ending": rules.rule_on_ending(answer),
    }
    rulings = tuple(Ruling(key, *criteria[key], *ruled[key]) for key in criteria)
    if rng.random() < 0.07:
        rulings += (_unknown(rng),)
    return Item(instruction.replace(_GLUE, " "), shown, answer, rulings)
