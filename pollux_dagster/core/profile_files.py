"""Judge profiles as TOML files: the packaged ones in `pollux_dagster/judges`, and a user's own.

docs/judges.md describes the fields. A file that cannot be used is refused as a whole, with every fault in it named.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from pollux_dagster.core.profiles import JudgeProfile, ReplyFormat, RequestForm, Sampling, ScorePlace
from pollux_dagster.core.prompts import PLACEHOLDERS, PromptTemplate, keeping_heading, leaving_out_heading

_REQUIRED = frozenset(PLACEHOLDERS) - {"reference_answer"}
_OWN_FIELDS = frozenset({"model", "messages", "stream", "n", "response_format", *Sampling().as_request_fields()})
_LARGEST_FILE_BYTES = 1 << 20


class ProfileError(ValueError):
    """A profile that does not exist or cannot be used; the message names the file and everything wrong in it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Prompt(_Section):
    template: str | None = None
    file: str | None = None
    without_reference: str | None = None
    reference_heading: Literal["keep", "leave_out"] = "keep"
    system: str | None = None

    @model_validator(mode="after")
    def _one_template(self) -> _Prompt:
        if (self.template is None) == (self.file is None):
            raise ValueError("expected either `template` with the text, or `file` with the name of a file beside this")
        return self


Stated = Literal["server"]


class _Sampling(_Section):
    temperature: Annotated[float, Field(ge=0, le=2)] | Stated = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] | Stated = 1.0
    top_k: Annotated[int, Field(ge=0)] | Stated = 0
    min_p: Annotated[float, Field(ge=0, le=1)] | Stated = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | Stated = 1.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | Stated = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | Stated = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] | Stated = 20251
    max_tokens: Annotated[int, Field(ge=1)] = 2048


class _Request(_Section):
    neutral_fields: Literal["send", "omit"] = "send"
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] = {}
    response_format: dict[str, Any] | None = None
    limit_score_to_levels: StrictBool = False
    score_distribution: StrictBool = False

    @model_validator(mode="after")
    def _consistent(self) -> _Request:
        if taken := sorted(_OWN_FIELDS & self.extra_body.keys()):
            raise ValueError(f"extra_body: {', '.join(taken)} are set elsewhere in a profile")
        if self.limit_score_to_levels and self.response_format is None:
            raise ValueError("limit_score_to_levels: expected a response_format with a JSON schema to limit")
        return self


class _Reply(_Section):
    score: ReplyFormat
    score_path: str = "score"
    rationale_path: str = "rationale"
    tag: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] = "score"
    pattern: str = ""

    @model_validator(mode="after")
    def _usable_pattern(self) -> _Reply:
        if (self.score is ReplyFormat.REGEX) != bool(self.pattern):
            raise ValueError('pattern: expected one with score = "regex", and with no other')
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f"pattern: expected a regular expression of Python, {error}") from None
        if self.pattern and groups != 1:
            raise ValueError(f"pattern: expected exactly one group, the score; found {groups}")
        return self


class _Server(_Section):
    weights: str | None = None
    weights_revision: str | None = None
    revision: str = "main"
    max_model_len: Annotated[int, Field(ge=256)] = 32_768
    reasoning_parser: Mapping[Literal["vllm", "sglang"], str] = {}
    arguments: Mapping[Literal["vllm", "sglang", "transformers", "llama-server"], tuple[str, ...]] = {}


class _Profile(_Section):
    model: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    license: str = ""
    sources: tuple[str, ...] = ()
    has_met_weights: StrictBool = False
    minimum_coverage: Annotated[float, Field(ge=0, le=1)] = 0.98
    demonstration: StrictBool = False
    prompt: _Prompt
    sampling: _Sampling = _Sampling()
    request: _Request = _Request()
    reply: _Reply
    server: _Server = _Server()


def packaged_profiles() -> tuple[str, ...]:
    """The names of the profiles that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def find_profile(name: str, home: Path | None = None) -> JudgeProfile:
    """The profile of a TOML file's path, or of a name: that of a file in `home`/judges, else that of a packaged one.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    if name.endswith(".toml") or "/" in name:
        return read_profile(Path(name))
    own = home / "judges" / f"{name}.toml" if home else None
    if own is not None and own.is_file():
        return read_profile(own)
    if name in packaged_profiles():
        return packaged_profile(name)
    known = sorted({*packaged_profiles(), *(path.stem for path in own_profiles(home))})
    where = f", the path of a .toml file, or the name of one in {home / 'judges'}" if home else ""
    raise ProfileError(f"expected one of {', '.join(known)}{where}; got {name!r}")


def own_profiles(home: Path | None) -> list[Path]:
    """The profile files in a home, sorted by name."""
    return sorted((home / "judges").glob("*.toml")) if home else []


@cache
def packaged_profile(name: str) -> JudgeProfile:
    """A packaged profile; raises KeyError for a name that none has."""
    path = _folder() / f"{name}.toml"
    if not path.is_file():
        raise KeyError(name)
    return read_profile(path)


def read_profile(path: Path) -> JudgeProfile:
    """The profile in a TOML file; its name is the file's without the suffix.

    Raises:
        ProfileError: the file cannot be read, or something in it is wrong.
    """
    return _built(path, _checked(path, _parsed(path)))


def _folder() -> Path:
    folder = files("pollux_dagster") / "judges"
    return Path(str(folder))


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise ProfileError(f"{path}: expected a profile of at most {_LARGEST_FILE_BYTES} bytes")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ProfileError(f"{path}: the profile cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path}: expected UTF-8, found byte {error.object[error.start]:#04x}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(f"{path}: expected TOML: {error}") from None


def _checked(path: Path, content: Mapping[str, Any]) -> _Profile:
    try:
        return _Profile.model_validate(content)
    except ValidationError as error:
        faults: dict[str, list[str]] = {}
        for each in error.errors():
            where = _place(each["loc"])
            faults.setdefault(where, []).append(_fault(where, each["type"], each["msg"], each["input"]))
        said = (
            f"{where}: " * bool(where) + " or ".join([first, *(more.partition("expected ")[2] for more in others)])
            for where, (first, *others) in faults.items()
        )
        raise ProfileError(f"{path}: " + "; ".join(said)) from None


def _place(location: tuple[int | str, ...]) -> str:
    """A field's place as TOML writes it, without the branches of a union."""
    steps = [str(step) for step in location if "[" not in str(step)]
    branches = ("int", "float", "constrained", "function", "literal")
    return ".".join(step for step in steps if not step.startswith(branches))


def _fault(where: str, kind: str, message: str, given: Any) -> str:
    """What is wrong at a place, in words."""
    if kind == "missing":
        return "a value is missing"
    if kind == "extra_forbidden":
        section: Any = _Profile
        *outer, name = where.split(".")
        for step in outer:
            section = section.model_fields[step].annotation
        close = get_close_matches(name, section.model_fields, n=1)
        known = f"did you mean {close[0]}?" if close else f"known here: {', '.join(section.model_fields)}"
        return f"no such field; {known}"
    if message.startswith("Value error, "):
        return message.removeprefix("Value error, ")
    wanted = message.removeprefix("Input should be ").replace("String should ", "text to ")
    return f"found {str(given)[:80]!r}, expected {wanted.partition(', unable to parse')[0]}"


def _built(path: Path, read: _Profile) -> JudgeProfile:
    stated: dict[str, Any] = {
        name: None if value == "server" else value for name, value in read.sampling.model_dump().items()
    }
    request, reply, server = read.request, read.reply, read.server
    weights = (path.parent / server.weights).resolve() if server.weights else None
    return JudgeProfile(
        name=path.stem,
        model=read.model,
        score=ScorePlace(reply.score, reply.score_path, reply.rationale_path, reply.tag, reply.pattern),
        sampling=Sampling(**stated),
        template=_template(path, read.prompt),
        system_message=read.prompt.system,
        request=RequestForm(
            omits_neutral=request.neutral_fields == "omit",
            token_limit=request.token_limit,
            extra_body=MappingProxyType(request.extra_body),
            response_format=MappingProxyType(request.response_format) if request.response_format else None,
            limits_score=request.limit_score_to_levels,
            distributes_score=request.score_distribution,
        ),
        reasoning_parser={str(engine): parser for engine, parser in server.reasoning_parser.items()},
        arguments={str(engine): arguments for engine, arguments in server.arguments.items()},
        weights=weights,
        weights_revision=server.weights_revision,
        revision=server.revision,
        max_model_len=server.max_model_len,
        minimum_coverage=read.minimum_coverage,
        is_demonstration=read.demonstration,
        description=read.description,
        license=read.license,
        sources=read.sources,
        has_met_weights=read.has_met_weights,
    )


def _template(path: Path, prompt: _Prompt) -> PromptTemplate:
    text = prompt.template
    if prompt.file is not None:
        try:
            # Bytes, because a prompt is the model's interface: no line ending may change.
            text = (path.parent / prompt.file).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{path}: prompt.file: {prompt.file} cannot be read: {error}") from None
    _check_placeholders(path, "prompt.template" if prompt.file is None else prompt.file, text or "", _REQUIRED)
    if prompt.without_reference is not None:
        _check_placeholders(path, "prompt.without_reference", prompt.without_reference, _REQUIRED)
        return PromptTemplate(text or "", prompt.without_reference)
    return (leaving_out_heading if prompt.reference_heading == "leave_out" else keeping_heading)(text or "")


def _check_placeholders(path: Path, where: str, text: str, required: frozenset[str]) -> None:
    for word in dict.fromkeys(re.findall(r"\{(\w+)\}", text)):
        close = get_close_matches(word, PLACEHOLDERS, n=1, cutoff=0.75)
        if close and word not in PLACEHOLDERS:
            raise ProfileError(f"{path}: {where}: {{{word}}} is no placeholder; did you mean {{{close[0]}}}?")
    if missing := sorted(name for name in required if f"{{{name}}}" not in text):
        raise ProfileError(f"{path}: {where}: expected {{{'}, {'.join(missing)}}} in it, found none")
