"""Judge profiles as the command shows them: a list, one as it would be asked, and a trial on a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pollux_dagster.app.resources import Resources
from pollux_dagster.core.profile_files import (
    ProfileError,
    own_profiles,
    packaged_profile,
    packaged_profiles,
    read_profile,
)
from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.core.prompts import render
from pollux_dagster.core.replies import Reply, read_reply
from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.dialect import Dialect
from pollux_dagster.judge.responses import Completion
from pollux_dagster.settings import Settings


@dataclass(frozen=True, slots=True)
class Trial:
    """A fixed request of `pollux judges check`; `good` are the scores that a judge should not miss."""

    what: str
    instruction: str
    reference_answer: str | None
    answer: str
    criteria_name: str
    rubrics: str
    levels: tuple[float, ...]
    good: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TriedRequest:
    """One trial with what came of it; `reply` is None where the server gave none, and `problem` then says why."""

    trial: Trial
    prompt: str
    content: str | None
    reasoning: str | None
    finish_reason: str | None
    reply: Reply | None
    problem: str

    @property
    def is_usable(self) -> bool:
        """Whether a score was read, whatever it is."""
        return self.reply is not None and self.reply.score is not None


_TRUTH = "0: Ответ неверен.\n1: Ответ верен."
TRIALS = (
    Trial(
        "a right answer with a reference",
        *("Столица Франции?", "Париж", "Столица Франции — Париж.", "Верность ответа", _TRUTH),
        levels=(0.0, 1.0),
        good=(1.0,),
    ),
    Trial(
        "a wrong answer with a reference",
        *("Столица Франции?", "Париж", "Столица Франции — Лион.", "Верность ответа", _TRUTH),
        levels=(0.0, 1.0),
        good=(0.0,),
    ),
    Trial(
        "an answer without a reference, three levels",
        "Поздравь коллегу с днём рождения одним предложением.",
        None,
        "Анна, с днём рождения! Желаю здоровья, радости и интересных задач.",
        "Уместность тона",
        "0: Тон неуместен.\n1: Тон отчасти уместен.\n2: Тон уместен.",
        levels=(0.0, 1.0, 2.0),
        good=(1.0, 2.0),
    ),
)


def listed_profiles(home: Path) -> list[tuple[str, str, str, str]]:
    """Name, model, "packaged" or the file, and description of every profile that a name can mean.

    A file in the home that cannot be used is listed with what is wrong as its description.
    """
    packaged = {name: ("packaged", partial(packaged_profile, name)) for name in packaged_profiles()}
    own = {path.stem: (str(path), partial(read_profile, path)) for path in own_profiles(home)}
    return [_listed(name, *found) for name, found in {**packaged, **own}.items()]


def _listed(name: str, place: str, read: Callable[[], JudgeProfile]) -> tuple[str, str, str, str]:
    try:
        profile = read()
    except ProfileError as error:
        return name, "", place, f"cannot be used: {error}"
    return name, profile.model, place, profile.description


def shown_profile(settings: Settings) -> Iterator[tuple[str, str]]:
    """The profile as (what, value): identity, sources, and a request as it would be sent."""
    judge = Resources.of(settings).judge
    profile, identity = judge.judge_profile, judge.identity()
    yield "profile", profile.name
    yield "judge", f"{identity.judge_name}, id {identity.judge_id}"
    yield "identity", identity.canonical_json()
    yield "license", profile.license or "not stated"
    yield "tried on the real weights", "yes" if profile.has_met_weights else "no"
    yield from (("source", source) for source in profile.sources)
    yield "score read from", profile.score.format.value
    for engine, parser in profile.reasoning_parser.items():
        yield f"reasoning parser of {engine}", parser
    trial = TRIALS[0]
    body = Dialect(profile).body(settings.judge_served_model or profile.model, "…", profile.sampling, trial.levels)
    yield "request", json.dumps(body, ensure_ascii=False, default=dict, indent=1)
    yield "prompt with a reference", _prompt(profile, trial)
    yield "prompt without a reference", _prompt(profile, TRIALS[2])


def tried_profile(settings: Settings, log: Callable[[str], None]) -> list[TriedRequest]:
    """Send the three fixed requests to the judge's server, attached or managed. Nothing is recorded.

    Raises:
        ServerError: the server cannot be used or does not start.
    """
    judge = Resources.of(settings).judge
    with judge.serve(log) as server:
        return asyncio.run(
            _tried(judge.judge_profile, JudgeClient(server.endpoint, judge.judge_profile, connections=1, log=log))
        )


def tried_lines(tried: list[TriedRequest]) -> Iterator[str]:
    """The trials in words: prompt, reply and what was read of it."""
    for number, each in enumerate(tried, start=1):
        yield f"--- {number}. {each.trial.what}"
        yield from (f"> {line}" for line in each.prompt.splitlines())
        for part, text in (("reasoning", each.reasoning), ("content", each.content)):
            if text is not None:
                yield f"{part}:"
                yield from (f"< {line}" for line in text.splitlines() or [""])
        if each.reply is None:
            yield f"no reply: {each.problem}"
            continue
        score = each.reply.score
        doubt = "" if score is None or score in each.trial.good else f", where one of {each.trial.good} was expected"
        yield f"read: status {each.reply.status.value}, score {score}{doubt}" + (
            f" ({each.problem})" if each.problem else ""
        )


async def _tried(profile: JudgeProfile, client: JudgeClient) -> list[TriedRequest]:
    found: list[TriedRequest] = []
    try:
        for trial in TRIALS:
            prompt = _prompt(profile, trial)
            answer = await client.ask(prompt, profile.sampling, trial.levels)
            if isinstance(answer, Completion):
                reply = read_reply(profile, answer.message, answer.finish_reason, trial.levels)
                message = answer.message
                found.append(
                    TriedRequest(
                        trial,
                        prompt,
                        message.content,
                        message.reasoning,
                        answer.finish_reason,
                        reply,
                        reply.problem or "",
                    )
                )
            else:
                found.append(TriedRequest(trial, prompt, None, None, None, None, answer.error))
    finally:
        await client.aclose()
    return found


def _prompt(profile: JudgeProfile, trial: Trial) -> str:
    return render(
        profile.template,
        trial.instruction,
        trial.reference_answer,
        trial.answer,
        trial.criteria_name,
        trial.rubrics,
    )
