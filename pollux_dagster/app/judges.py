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
from pollux_dagster.core.profiles import JudgeIdentity, JudgeProfile
from pollux_dagster.core.prompts import render
from pollux_dagster.core.replies import Reply, read_reply
from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.dialect import Dialect
from pollux_dagster.judge.endpoint import Endpoint
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


@dataclass(frozen=True, slots=True)
class TriedProfile:
    """A judge on its server with its trials."""

    identity: JudgeIdentity
    endpoint: Endpoint
    system_message: str | None
    requests: list[TriedRequest]


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
    """Name, model, where it is from, and description of every profile that a name can mean.

    A file in the home that cannot be used is listed with what is wrong as its description, and a packaged profile that
    a file of the same name replaces beside that file.
    """
    own = {path.stem: path for path in own_profiles(home)}
    packaged = [
        _listed(
            name, f"packaged, replaced by {own[name]}" if name in own else "packaged", partial(packaged_profile, name)
        )
        for name in packaged_profiles()
    ]
    return packaged + [_listed(name, str(path), partial(read_profile, path)) for name, path in own.items()]


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
    yield "description", profile.description or "none"
    yield "judge", f"{identity.judge_name}, id {identity.judge_id}"
    yield "identity", _unfolded(identity)
    yield "license", profile.license or "not stated"
    yield "tried on the real weights", "yes" if profile.has_met_weights else "no"
    yield from (("source", source) for source in profile.sources)
    yield "score read from", profile.score.format.value
    for engine, parser in profile.reasoning_parser.items():
        yield f"reasoning parser of {engine}", parser
    trial = TRIALS[0]
    body = Dialect(profile).body(settings.judge_served_model or profile.model, "…", profile.sampling, trial.levels)
    yield "request", json.dumps(body, ensure_ascii=False, indent=1)
    yield "system message", profile.system_message or "none"
    yield "prompt with a reference", _prompt(profile, trial)
    yield "prompt without a reference", _prompt(profile, TRIALS[2])


def _unfolded(identity: JudgeIdentity) -> str:
    """The identity as JSON for a reader: the decoding constraint, itself JSON in a text, as what it says."""
    fields = json.loads(identity.canonical_json())
    if constraint := fields["decoding_constraint"]:
        fields["decoding_constraint"] = json.loads(constraint)
    return json.dumps(fields, ensure_ascii=False, indent=1)


def tried_profiles(settings: Settings, log: Callable[[str], None]) -> list[TriedProfile]:
    """Send the three fixed requests to each of the judge's servers, attached or managed. Nothing is recorded.

    Raises:
        ServerError: no server can be used, or the managed one does not start.
    """
    judge = Resources.of(settings).judge
    profile = judge.judge_profile
    with judge.serve(log) as servers:
        return [
            TriedProfile(
                judge.identity(),
                endpoint,
                profile.system_message,
                asyncio.run(_tried(profile, JudgeClient(endpoint, profile, connections=1, log=log))),
            )
            for endpoint in servers.endpoints
        ]


def tried_lines(tried: TriedProfile) -> Iterator[str]:
    """The judge, its server and the trials in words: prompt, reply and what was read of it."""
    endpoint = tried.endpoint
    yield f"judge: {tried.identity.judge_name}, id {tried.identity.judge_id}"
    yield f"model: {tried.identity.model}, which the server calls {endpoint.model}"
    yield f"server: {endpoint.engine}, version {endpoint.engine_version}, at {endpoint.base_url}"
    if tried.system_message:
        yield "system message, the same for all:"
        yield from (f"> {line}" for line in tried.system_message.splitlines())
    for number, each in enumerate(tried.requests, start=1):
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
