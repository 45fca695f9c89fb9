"""Judge profiles: how one judge is asked, where its replies have the score, and what its identity is.

Everything that can change a verdict is explicit in the profile and hashed into the judge's identity, so that verdicts
of two judges are never mistaken for each other. `profile_files` reads profiles; `replies` reads what a judge returns;
the judge package sends the requests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pollux_dagster.core.prompts import PromptTemplate

# The files an engine loads; a README or an accuracy report beside the weights does not change the judge.
CHECKPOINT_PATTERNS = (
    "*.safetensors",
    "*.bin",
    "*.gguf",
    "*.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.model",
    "chat_template*",
)
_WEIGHTS = (".safetensors", ".bin", ".gguf")
# Engine arguments that make other weights of the checkpoint's.
_QUANTIZING = {"--quantization": "quantization", "-q": "quantization", "--kv-cache-dtype": "kv_cache_dtype"}


class ReplyFormat(StrEnum):
    """Where the score is found in a reply."""

    SCORE_AFTER_REASONING = "after_reasoning"  # reasoning apart, content is the bare number
    FEEDBACK_RESULT = "feedback_result"  # "[FEEDBACK] … [RESULT] 2 [END]"
    JSON = "json"  # {"rationale": "…", "score": 2}, or other paths
    TAG = "tag"  # "… <score>2</score>"
    REGEX = "regex"  # the group of a pattern that matches once


@dataclass(frozen=True, slots=True)
class ScorePlace:
    """Where a reply has its score: the format, and for the formats that leave it open the path, tag or pattern.

    Paths lead into JSON, steps separated by dots. `pattern` has one group and must match exactly once.
    """

    format: ReplyFormat
    score_path: str = "score"
    rationale_path: str = "rationale"
    tag: str = "score"
    pattern: str = ""

    def as_identity(self) -> dict[str, str] | None:
        """What of it differs from its format's only form; None for the three formats that have one."""
        match self.format:
            case ReplyFormat.TAG:
                return {"tag": self.tag}
            case ReplyFormat.REGEX:
                return {"pattern": self.pattern}
            case ReplyFormat.JSON if (self.score_path, self.rationale_path) != ("score", "rationale"):
                return {"score": self.score_path, "rationale": self.rationale_path}
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Sampling:
    """All sampling parameters, stated explicitly, so that no default of a server or a `generation_config.json` applies.

    None leaves a parameter to the server. `top_k` 0 and `min_p` 0 mean "off" (vLLM, llama.cpp). `max_tokens` is the
    limit for reasoning and score together.
    """

    temperature: float | None = 0.0
    top_p: float | None = 1.0
    top_k: int | None = 0
    min_p: float | None = 0.0
    repetition_penalty: float | None = 1.0
    presence_penalty: float | None = 0.0
    frequency_penalty: float | None = 0.0
    seed: int | None = 20251
    max_tokens: int = 2048

    def as_request_fields(self) -> dict[str, int | float]:
        """The stated parameters under their names in a chat completion request."""
        named: dict[str, int | float | None] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
        }
        return {name: value for name, value in named.items() if value is not None}


NEUTRAL_SAMPLING: Mapping[str, float] = MappingProxyType(
    {
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
)
"""The values with which a parameter changes nothing, so that leaving it out asks for the same."""


@dataclass(frozen=True, slots=True)
class RequestForm:
    """The fields of a request besides messages and sampling.

    `omits_neutral`: sampling parameters with a neutral value are not sent, for servers that refuse those they do not
    know (other servers would fill them in from the model's own defaults). `token_limit` is the name of the field with
    `max_tokens`. `extra_body` is merged into every request. `response_format` constrains decoding; `limits_score`: its
    schema's score is limited to the rubric's levels. `distributes_score`: the probability of each level is asked for
    too; it leaves the verdict as it is and so is not part of the identity.
    """

    omits_neutral: bool = False
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    response_format: Mapping[str, Any] | None = None
    limits_score: bool = False
    distributes_score: bool = False


@dataclass(frozen=True, slots=True)
class JudgeProfile:
    """How one judge is asked and how its replies are read.

    `model` names the judge in tables (a hub id, or a plain name for a packaged checkpoint); `weights` is a local folder
    or GGUF file that is served instead of the hub's files. `revision` pins hub weights and is ignored for local ones,
    whose files are hashed, unless `weights_revision` says what they are. `reasoning_parser` is the parser that an
    engine (`vllm`, `sglang`) must be started with, none where replies carry no reasoning; `arguments` are an engine's
    further ones. `is_made_up`: there is no model, and a managed server makes its scores up. `criteria` names all that
    the judge can score, none for one that reads any rubric. `minimum_coverage` is the share of a model's requests that
    need a verdict before anything is published. `sources` says where the settings come from, and `has_met_weights`
    whether they were tried on the real weights.
    """

    name: str
    model: str
    score: ScorePlace
    sampling: Sampling
    template: PromptTemplate
    system_message: str | None = None
    request: RequestForm = RequestForm()
    reasoning_parser: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Path | None = None
    weights_revision: str | None = None
    revision: str = "main"
    max_model_len: int = 32_768
    minimum_coverage: float = 0.98
    is_demonstration: bool = False
    is_made_up: bool = False
    criteria: tuple[str, ...] = ()
    description: str = ""
    license: str = ""
    sources: tuple[str, ...] = ()
    has_met_weights: bool = False

    @property
    def served_model(self) -> str:
        """The model that the server loads: the local weights if there are any, else the hub id."""
        return str(self.weights) if self.weights is not None else self.model

    @property
    def characters_around_texts(self) -> int:
        """The length of a prompt without the texts that are judged."""
        return len(self.template.with_reference) + len(self.system_message or "")

    def identity(
        self,
        *,
        model: str | None = None,
        weights_revision: str | None = None,
        engine_arguments: tuple[str, ...] = (),
    ) -> JudgeIdentity:
        """Return the identity of this judge, or of other weights (`model` at `weights_revision`) asked in the same way.

        By default, local weights are identified by a hash of their files and hub weights by the profile's revision.
        Weights that an engine quantizes as it loads them, by its arguments, are other weights.
        Raises FileNotFoundError when the local folder holds no weights.
        """
        if weights_revision is None:
            weights_revision = _revision_of(self)
        return JudgeIdentity(
            profile=self.name,
            model=model if model is not None else self.model,
            weights_revision=weights_revision + _quantization(engine_arguments),
            template_hash=self.template.template_hash,
            sampling=MappingProxyType(self.sampling.as_request_fields()),
            decoding_constraint=self._constraint(),
            is_demonstration=self.is_demonstration,
        )

    def _constraint(self) -> str | None:
        """Everything else that a request states and that decides how its reply is read, as JSON; None for nothing."""
        request = self.request
        stated: dict[str, Any] = {}
        if request.response_format is not None or self.system_message is not None:
            stated = {"response_format": request.response_format, "system_message": self.system_message}
        if request.limits_score:
            stated["score"] = "one of the levels"
        if request.extra_body:
            stated["extra_body"] = request.extra_body
        if place := self.score.as_identity():
            stated["read_from"] = place
        return json.dumps(stated, ensure_ascii=False, sort_keys=True) if stated else None


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """Everything that decides a verdict. `profile` is for display only and is not part of the id."""

    profile: str
    model: str
    weights_revision: str
    template_hash: str
    sampling: Mapping[str, int | float]
    decoding_constraint: str | None
    is_demonstration: bool

    def canonical_json(self) -> str:
        """The identity as JSON with sorted keys and no spaces: the text whose hash is the judge's id."""
        return json.dumps(
            {
                "model": self.model,
                "weights_revision": self.weights_revision,
                "template_hash": self.template_hash,
                "sampling": dict(self.sampling),
                "decoding_constraint": self.decoding_constraint,
                "is_demonstration": self.is_demonstration,
            },
            ensure_ascii=False,
            sort_keys=True,
            separators=(",", ":"),
        )

    @property
    def judge_id(self) -> str:
        """First 16 hex digits of the sha256 of `canonical_json`."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]

    @property
    def judge_name(self) -> str:
        """The name shown to readers: the profile and the first digits of the id."""
        return f"{self.profile}@{self.judge_id[:8]}"


def weights_revision(weights: Path) -> str:
    """sha256 (hex) of the names and contents of the weight, config and tokenizer files directly in a folder, or of a
    single file of weights (GGUF).

    Raises FileNotFoundError when the path is missing or holds no weight file.
    """
    if weights.is_file() and weights.suffix in _WEIGHTS:
        files = [weights]
    else:
        files = sorted({path for pattern in CHECKPOINT_PATTERNS for path in weights.glob(pattern)})
    if not any(path.suffix in _WEIGHTS for path in files):
        raise FileNotFoundError(
            f"expected a model checkpoint (*.safetensors) in {weights}, found "
            f"{[path.name for path in files] or 'nothing'}; check the profile's weights folder"
        )
    total = hashlib.sha256()
    for path in files:
        state = path.stat()
        total.update(f"{path.name}\x00{_digest(path.resolve(), state.st_size, state.st_ctime_ns)}\n".encode())
    return total.hexdigest()


@cache
def _digest(path: Path, _size: int, _changed_ns: int) -> str:
    """sha256 (hex) of a file, read once in a process while its size and time of change stay: weights are gigabytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _revision_of(profile: JudgeProfile) -> str:
    if profile.weights is None:
        return profile.revision
    return profile.weights_revision or weights_revision(profile.weights)


def _quantization(arguments: tuple[str, ...]) -> str:
    """The arguments among those of an engine that make other weights, as a suffix of the revision."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    found = {
        (_QUANTIZING[flag.replace("_", "-")], value)
        for flag, value in pairwise(words)
        if flag.replace("_", "-") in _QUANTIZING and value != "auto"
    }
    return "".join(f"+{name}={value}" for name, value in sorted(found))
