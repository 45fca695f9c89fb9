"""The fields of a chat completion request for one judge on one server, which learns what that server does not take.

A server that refuses a request and names a field gets the next one without it, where leaving it out asks for the same.
Anything else would change the judge without a trace, so it ends the evaluation with the words of the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pollux_dagster.core.profiles import NEUTRAL_SAMPLING, JudgeProfile, Sampling
from pollux_dagster.core.prompts import render

HARMLESS_LEVELS = (0.0, 1.0)
REFUSALS = (400, 403, 405, 406, 409, 412, 415, 422)
_LIMIT, _NEWER_LIMIT = "max_tokens", "max_completion_tokens"
# A seed repeats a draw; with or without one, a draw is from the same distribution.
_DISPENSABLE = frozenset({"seed", "return_token_ids"})
# Some servers write "off" as -1 where others write it as 0.
_OFF = {"top_k": (0, -1)}
_MINUS_ONE = re.compile(r"(?<![\w.])-1\b")
_OBJECTION = re.compile(
    r"unsupported|not support|unrecognized|unknown|unexpected|invalid|not permitted|not allowed|extra|must be|should be"
    r"|cannot find field|cannot be|not available|unavailable|incompatible|deprecated|too large|at most|one of"
    r"|не поддерж|недопустим|неизвестн|不支持|非法|无效|未知",
    re.I,
)


class Dialect:
    """What one server takes of the requests of `profile`. Used from one event loop."""

    def __init__(self, profile: JudgeProfile) -> None:
        self._profile = profile
        self._instead: dict[tuple[str, float], float | None] = {}
        self._limit_field: str = profile.request.token_limit
        self._accepted = False

    def messages(self, prompt: str) -> list[dict[str, str]]:
        """The messages of a request."""
        system = self._profile.system_message
        return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": prompt}]

    def body(self, model: str, prompt: str, sampling: Sampling, levels: Sequence[float]) -> dict[str, Any]:
        """The whole request."""
        form = self._profile.request
        body: dict[str, Any] = {"model": model, "messages": self.messages(prompt), **form.extra_body}
        if form.distributes_score and self._instead.get(("return_token_ids", True), True):
            body["return_token_ids"] = True
        if form.response_format is not None:
            limited = form.limits_score and levels
            body["response_format"] = _limited(form.response_format, levels) if limited else form.response_format
        for name, value in sampling.as_request_fields().items():
            if name == _LIMIT:
                body[self._limit_field] = value
            elif not (form.omits_neutral and value == NEUTRAL_SAMPLING.get(name)):
                sent = self._instead.get((name, value), value)
                if sent is not None:
                    body[name] = sent
        return body

    def canary(self, model: str) -> dict[str, Any]:
        """A request that states what every request of this judge does, for one token."""
        shortest = replace(self._profile.sampling, max_tokens=1)
        return self.body(model, harmless_prompt(self._profile), shortest, HARMLESS_LEVELS)

    def accept(self) -> None:
        """Note that the server answered a request: it takes all the fields of it."""
        self._accepted = True

    @property
    def is_accepted(self) -> bool:
        """Whether the server has answered a request of this judge."""
        return self._accepted

    def adapt(self, sent: Mapping[str, Any], refusal: str) -> str | None:
        """What is left out, renamed or written otherwise from now on, in words, after `sent` was refused with this
        text; None where the refusal names nothing of the kind. What only a second try states is left out of second
        tries: any reply will do there.
        """
        if self._limit_field == _LIMIT and _wants_newer_limit(sent, refusal):
            self._limit_field = _NEWER_LIMIT
            return f"{_LIMIT} is sent as {_NEWER_LIMIT}"
        stated = self._profile.sampling.as_request_fields()
        changed = _yielding(sent, refusal)
        for name in _named(sent, refusal):
            if name in stated and not _same(name, sent[name], stated[name]):
                changed.setdefault(name, None)
        changes = []
        for name, value in changed.items():
            written = _OFF[name] if sent[name] in _OFF.get(name, ()) else (sent[name],)
            instead = {(name, each): value for each in written if each != value}
            if name not in (_LIMIT, _NEWER_LIMIT) and not instead.items() <= self._instead.items():
                self._instead |= instead
                changes.append(f"{name} = {sent[name]!r} is {'not sent' if value is None else f'sent as {value!r}'}")
        return ", ".join(changes) or None

    def objection(self, sent: Mapping[str, Any], refusal: str) -> str | None:
        """Which fields of the judge the server does not take, so that it answers no request; None where that is not
        sure.
        """
        return None if self._accepted else objection(sent, refusal)


def objection(sent: Mapping[str, Any], refusal: str) -> str | None:
    """Which fields of the request a refusal objects to that cannot be left out, and what to do; None where it names
    none.
    """
    # SGLang names the newer field when it is the older one that it got.
    stated = {**sent, _NEWER_LIMIT: sent.get(_NEWER_LIMIT, sent.get(_LIMIT))}
    fixed = [name for name in _named(stated, refusal) if name not in ("model", "messages")]
    if not fixed or not is_objection(refusal):
        return None
    shown = ", ".join(f"{name} = {stated[name]!r}" if isinstance(stated[name], int | float) else name for name in fixed)
    if set(fixed) <= {_LIMIT, _NEWER_LIMIT}:
        return f"it does not take {shown}: use a profile with a max_tokens that it takes (docs/judges.md)"
    return (
        f"it does not take {shown}. Without it this would be another judge: use a profile that does not state it, "
        'for instance openai-reasoning, or one of your own (docs/judges.md) with "server" for what it decides'
    )


def harmless_prompt(profile: JudgeProfile) -> str:
    """A prompt that no filter minds, whose criterion has HARMLESS_LEVELS."""
    return render(profile.template, "2 + 2 = ?", "4", "4", "Верность", "0: неверно\n1: верно")


def is_objection(text: str) -> bool:
    """Whether an error's text speaks of what a request states."""
    return bool(_OBJECTION.search(text))


def conceded(sent: Mapping[str, Any], refusal: str) -> dict[str, Any] | None:
    """`sent` without what a refusal names, where that asks for the same; None where nothing of it can go."""
    if _wants_newer_limit(sent, refusal):
        return {(_NEWER_LIMIT if name == _LIMIT else name): value for name, value in sent.items()}
    changed = _yielding(sent, refusal)
    if not changed:
        return None
    return {name: value for name, value in {**sent, **changed}.items() if value is not None}


def _yielding(sent: Mapping[str, Any], refusal: str) -> dict[str, float | None]:
    """The fields that a refusal names and that can give way: with another value that means the same, or with None for
    leaving them out.
    """
    found: dict[str, float | None] = {}
    for name in _named(sent, refusal):
        if name == "top_k" and sent[name] == 0 and _MINUS_ONE.search(refusal):
            found[name] = -1
        elif name in _DISPENSABLE or _same(name, sent[name], NEUTRAL_SAMPLING.get(name)):
            found[name] = None
    return found


def _same(name: str, value: Any, other: Any) -> bool:
    alike = _OFF.get(name, ())
    return bool(value == other) or (value in alike and other in alike)


def _wants_newer_limit(sent: Mapping[str, Any], refusal: str) -> bool:
    return _LIMIT in sent and _LIMIT in _named(sent, refusal) and _NEWER_LIMIT in refusal


def _named(sent: Mapping[str, Any], text: str) -> list[str]:
    """The fields of a request that a text names as whole words: `top_k`, or as some servers write it: `topK`, `TopK`,
    `top-k`, `Top K`. The limits of tokens are named only as they are sent: other errors speak of a maximum, too.
    """
    prompt = "".join(str(message.get("content", "")) for message in sent.get("messages", ()))
    named = []
    for name in sent:
        spelled = _camel(name) if name in (_LIMIT, _NEWER_LIMIT) else rf"(?i:{'[_ -]?'.join(name.split('_'))})"
        word = re.compile(rf"(?<![\w-])(?:{re.escape(name)}|{spelled})(?![\w-])", re.ASCII)
        # A refusal may quote the prompt, whose answer may speak of such fields.
        if word.search(text) and (name == "messages" or not word.search(prompt)):
            named.append(name)
    return named


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return re.escape(first + "".join(word.capitalize() for word in others))


def _limited(response_format: Mapping[str, Any], levels: Sequence[float]) -> dict[str, Any]:
    """The response format with the score of its schema limited to the levels, written as a rubric writes them."""
    numbers = [int(level) if float(level).is_integer() else level for level in levels]
    outer = dict(response_format)
    outer["json_schema"] = described = dict(outer["json_schema"])
    described["schema"] = schema = dict(described["schema"])
    schema["properties"] = {**schema["properties"], "score": {**schema["properties"]["score"], "enum": numbers}}
    return outer
