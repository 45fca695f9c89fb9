"""Judge profiles: the prompt template, the sampling parameters and the reply format of each judge.

Everything that can change a verdict is explicit in the profile and hashed into the judge's identity, so that verdicts
of two judges are never mistaken for each other. `replies` reads what a judge returns; the judge package sends the
requests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pollux_dagster.core.prompts import POLLUX_TEMPLATE, PromptTemplate

# The files an engine loads; a README or an accuracy report beside the weights does not change the judge.
CHECKPOINT_PATTERNS = (
    "*.safetensors",
    "*.bin",
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


class ReplyFormat(StrEnum):
    """Where the score is found in a reply."""

    SCORE_AFTER_REASONING = "score_after_reasoning"  # reasoning apart, content is the bare number
    FEEDBACK_RESULT = "feedback_result"  # "[FEEDBACK] … [RESULT] 2 [END]"
    JSON = "json"  # {"rationale": "…", "score": 2}


@dataclass(frozen=True, slots=True)
class Sampling:
    """All sampling parameters, stated explicitly, so that no default of a server or a `generation_config.json` applies.

    `top_k` 0 and `min_p` 0 mean "off" (vLLM and SGLang). `max_tokens` is the limit for reasoning and score together.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 20251
    max_tokens: int = 2048

    def as_request_fields(self) -> dict[str, int | float]:
        """The fields under their names in a chat completion request."""
        return {
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


@dataclass(frozen=True, slots=True)
class JudgeProfile:
    """How one judge is asked and how its replies are read.

    `model` names the judge in tables (a hub id, or a plain name for a packaged checkpoint); `weights` is a local folder
    that is served instead of the hub's files. `revision` pins hub weights and is ignored for a local folder, whose
    files are hashed. `response_format` is sent with every request and constrains decoding. `reasoning_parser` is the
    parser the server must be started with, None where replies carry no reasoning. `minimum_coverage` is the share of a
    model's requests that need a verdict before anything is published.
    """

    name: str
    model: str
    reply_format: ReplyFormat
    sampling: Sampling
    template: PromptTemplate = POLLUX_TEMPLATE
    system_message: str | None = None
    reasoning_parser: str | None = None
    response_format: Mapping[str, Any] | None = None
    weights: Path | None = None
    revision: str = "main"
    max_model_len: int = 32_768
    minimum_coverage: float = 0.98
    is_demonstration: bool = False

    @property
    def served_model(self) -> str:
        """The model that the server loads: the local folder if there is one, else the hub id."""
        return str(self.weights) if self.weights is not None else self.model

    def identity(self, *, model: str | None = None, weights_revision: str | None = None) -> JudgeIdentity:
        """Return the identity of this judge, or of other weights (`model` at `weights_revision`) asked in the same way.

        By default, local weights are identified by a hash of their files and hub weights by the profile's revision.
        Raises FileNotFoundError when the local folder holds no weights.
        """
        if weights_revision is None:
            weights_revision = _revision_of(self)
        constraint = None
        if self.response_format is not None or self.system_message is not None:
            constraint = json.dumps(
                {"response_format": self.response_format, "system_message": self.system_message},
                default=dict,
                ensure_ascii=False,
                sort_keys=True,
            )
        return JudgeIdentity(
            profile=self.name,
            model=model if model is not None else self.model,
            weights_revision=weights_revision,
            template_hash=self.template.template_hash,
            sampling=MappingProxyType(self.sampling.as_request_fields()),
            decoding_constraint=constraint,
            is_demonstration=self.is_demonstration,
        )


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


def weights_revision(folder: Path) -> str:
    """sha256 (hex) of the names and contents of the weight, config and tokenizer files directly in `folder`.

    Raises FileNotFoundError when the folder is missing or holds no weight file.
    """
    files = sorted({path for pattern in CHECKPOINT_PATTERNS for path in folder.glob(pattern)})
    if not any(path.suffix in {".safetensors", ".bin"} for path in files):
        raise FileNotFoundError(
            f"expected a model checkpoint (*.safetensors) in {folder}, found "
            f"{[path.name for path in files] or 'nothing'}; check the profile's weights folder"
        )
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\x00{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _revision_of(profile: JudgeProfile) -> str:
    return weights_revision(profile.weights) if profile.weights is not None else profile.revision


_JSON_VERDICT: Mapping[str, Any] = MappingProxyType(
    {
        "type": "json_schema",
        "json_schema": {
            "name": "verdict",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"rationale": {"type": "string"}, "score": {"type": "number"}},
                "required": ["rationale", "score"],
                "additionalProperties": False,
            },
        },
    }
)
_JSON_SYSTEM_MESSAGE = (
    "Ты оцениваешь ответ по одному критерию. Сначала кратко обоснуй оценку, затем выбери ровно один балл из "
    'шкалы критерия. Верни только JSON вида {"rationale": "обоснование", "score": число}.'
)

PROFILES: Mapping[str, JudgeProfile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            JudgeProfile(
                name="pollux-4b",
                model="ai-forever/Pollux-4B-Judge",
                reply_format=ReplyFormat.SCORE_AFTER_REASONING,
                sampling=Sampling(),
                reasoning_parser="qwen3",
            ),
            JudgeProfile(
                name="pollux-7b",
                model="ai-forever/pollux-judge-7b",
                reply_format=ReplyFormat.FEEDBACK_RESULT,
                sampling=Sampling(),
            ),
            JudgeProfile(
                name="pollux-32b",
                model="ai-forever/pollux-judge-32b",
                reply_format=ReplyFormat.FEEDBACK_RESULT,
                sampling=Sampling(),
            ),
            JudgeProfile(
                name="json",
                model="Qwen/Qwen3-4B-Instruct-2507",
                reply_format=ReplyFormat.JSON,
                sampling=Sampling(),
                system_message=_JSON_SYSTEM_MESSAGE,
                response_format=_JSON_VERDICT,
            ),
            JudgeProfile(
                name="demo",
                model="pollux-dagster-demo-judge",
                reply_format=ReplyFormat.SCORE_AFTER_REASONING,
                sampling=Sampling(max_tokens=256),
                reasoning_parser="qwen3",
                weights=Path(__file__).resolve().parent.parent / "demo" / "judge",
                max_model_len=4_096,
                # On real answers it derails on code and foreign text: its coverage in ru-arena is 92.7 to 100 % per
                # model.
                minimum_coverage=0.9,
                is_demonstration=True,
            ),
        )
    }
)
