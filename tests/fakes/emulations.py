"""Servers that take, refuse and say what the real ones do, as far as their documentation and source tell.

One table row for each: which fields it takes, what it says of others, how it lists models, ends a reply, reports a
prompt that is too long, and which errors no later request can avoid. Each rule names its source. None is a recording of
a model: verdicts are those of `fake_judge`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, as_json, score_of

CUT = "Обрыв."  # a prompt with this text gets a reply that the token limit cut
FILTERED = "Фильтр."  # and with this one a refusal by the content filter, where the server has one

Body = Mapping[str, Any]
Check = Callable[[Body], Raw | None]

_OPENAI_FIELDS = frozenset(
    {"model", "messages", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "max_tokens"}
    | {"max_completion_tokens", "n", "stop", "response_format", "reasoning_effort", "logprobs", "stream", "user"}
)
_VLLM_FIELDS = _OPENAI_FIELDS | {"top_k", "min_p", "repetition_penalty", "chat_template_kwargs"}


@dataclass(frozen=True)
class Rule:
    """One thing that a server checks before it answers, and where that is written."""

    source: str
    check: Check


@dataclass(frozen=True)
class Emulation:
    """One server. `path` is what `/chat/completions` follows, `model` the judge's name there, `models` the body of
    `path`/models or the whole answer (None: there is no such address); `others` are further addresses with answers.
    """

    name: str
    sources: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    path: str = "/v1"
    query: str = ""
    key_header: str = "authorization"
    model: str = "judge"
    models: Any = None
    context: int = 2_048
    too_long: Callable[[int, int], Raw] | None = None  # of the context and the prompt's tokens; None: it cuts silently
    stopped: str | None = "stop"
    cut: str = "length"
    cut_reply: Raw | None = None  # instead of a completion
    shape: Callable[[str, str], dict[str, Any]] = lambda content, thoughts: {
        "content": content,
        "reasoning_content": thoughts,
    }
    others: Mapping[str, Callable[[Body], Any]] = field(default_factory=dict)
    hopeless: Mapping[str, Raw] = field(default_factory=dict)  # errors of every later request, by what is wrong
    filtered: Raw | None = None
    profile: str = "pollux-4b"  # a packaged profile that works there


def failed(status: int, document: Any) -> Raw:
    return as_json(document, status=status)


def openai_error(status: int, message: str, **further: Any) -> Raw:
    """https://platform.openai.com/docs/guides/error-codes"""
    return failed(status, {"error": {"message": message, "type": "invalid_request_error", **further}})


def beyond(taken: frozenset[str], say: Callable[[list[str]], Raw]) -> Check:
    """Refuses the fields of a request that are not `taken`, in words that name them."""

    def check(body: Body) -> Raw | None:
        unknown = sorted(body.keys() - taken)
        return say(unknown) if unknown else None

    return check


def where(name: str, is_wrong: Callable[[Any], bool], answer: Raw) -> Check:
    """Refuses a request whose field `name` has a wrong value."""
    return lambda body: answer if name in body and is_wrong(body[name]) else None


def other_than(default: float) -> Callable[[Any], bool]:
    return lambda value: bool(value != default)


def _unrecognized(names: list[str]) -> Raw:
    plural = "s" if len(names) > 1 else ""
    message = f"Unrecognized request argument{plural} supplied: {', '.join(names)}"
    return openai_error(400, message, param=None, code=None)


def _pydantic(names: list[str]) -> list[dict[str, Any]]:
    """https://docs.pydantic.dev/latest/errors/validation_errors/#extra_forbidden"""
    message = "Extra inputs are not permitted"
    return [{"type": "extra_forbidden", "loc": ["body", name], "msg": message, "input": 0} for name in names]


def _gemini(status: int, message: str, name: str, *details: Any) -> Raw:
    return failed(status, [{"error": {"code": status, "message": message, "status": name, "details": details}}])


def _gemini_unknown(names: list[str]) -> Raw:
    said = [f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in names]
    violations = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"description": said[0]}]}
    return _gemini(400, "\n".join(said), "INVALID_ARGUMENT", violations)


def _default_only(name: str) -> Raw:
    message = (
        f"Unsupported value: '{name}' does not support 0 with this model. Only the default (1) value is supported."
    )
    return openai_error(400, message, param=name, code="unsupported_value")


def _tgi(message: str, kind: str = "validation", status: int = 422) -> Raw:
    return failed(status, {"error": message, "error_type": kind})


OPENAI_QUOTA = failed(
    429,
    {
        "error": {
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        }
    },
)
OPENAI_KEY = openai_error(401, "Incorrect API key provided: sk-no***ey.", code="invalid_api_key")
OPENAI_MODEL = openai_error(
    404, "The model `judge` does not exist or you do not have access to it.", code="model_not_found"
)
GEMINI_PER_MINUTE = _gemini(
    429,
    "You exceeded your current quota, please check your plan and billing details. Please retry in 0.02s.",
    "RESOURCE_EXHAUSTED",
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.02s"},
)
"""A limit per minute, in the words of a spent quota: https://github.com/RooCodeInc/Roo-Code/issues/3883"""


def _openai_too_long(context: int, tokens: int) -> Raw:
    message = (
        f"This model's maximum context length is {context} tokens. However, your messages resulted in {tokens} tokens. "
        "Please reduce the length of the messages."
    )
    return openai_error(400, message, param="messages", code="context_length_exceeded")


OPENAI_CHAT = Emulation(
    name="openai-chat",
    sources=("https://platform.openai.com/docs/api-reference/chat/create",),
    rules=(
        Rule(
            "https://github.com/xlinx/sd-webui-decadetw-auto-prompt-llm/issues/29 (one field; several: the plural)",
            beyond(_OPENAI_FIELDS, _unrecognized),
        ),
    ),
    models={"object": "list", "data": [{"id": "judge", "object": "model", "owned_by": "system"}, {"id": "other"}]},
    too_long=_openai_too_long,
    shape=lambda content, _: {"content": content, "refusal": None, "annotations": []},
    hopeless={"credit": OPENAI_QUOTA, "key": OPENAI_KEY, "model": OPENAI_MODEL},
)

OPENAI_REASONING = Emulation(
    name="openai-reasoning",
    sources=(
        "https://platform.openai.com/docs/guides/reasoning",
        "https://learn.microsoft.com/azure/ai-services/openai/how-to/reasoning#not-supported",
    ),
    rules=(
        Rule(
            "https://github.com/crystal-autobot/autobot/issues/40",
            where(
                "max_tokens",
                lambda _: True,
                openai_error(
                    400,
                    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
                    "instead.",
                    param="max_tokens",
                    code="unsupported_parameter",
                ),
            ),
        ),
        Rule(
            "the same guide: unknown parameters are named one at a time",
            beyond(_OPENAI_FIELDS, lambda names: _unrecognized(names[:1])),
        ),
        *(
            Rule(
                "learn.microsoft.com/azure, as above: not supported are temperature, top_p, presence_penalty and "
                "frequency_penalty",
                where(name, other_than(default), _default_only(name)),
            )
            for name, default in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0))
        ),
    ),
    models=OPENAI_CHAT.models,
    too_long=_openai_too_long,
    cut_reply=openai_error(
        400,
        "Could not finish the message because max_tokens or model output limit was reached. Please try again with "
        "higher max_tokens.",
    ),
    shape=OPENAI_CHAT.shape,
    hopeless=OPENAI_CHAT.hopeless,
    profile="openai-reasoning",
)

AZURE = Emulation(
    name="azure",
    sources=("https://learn.microsoft.com/azure/ai-services/openai/reference#chat-completions",),
    rules=OPENAI_CHAT.rules,
    path="/openai/deployments/judge",
    query="api-version=2024-10-21",
    key_header="api-key",
    too_long=_openai_too_long,
    shape=OPENAI_CHAT.shape,
    filtered=failed(
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy. Please modify your prompt and retry.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {"jailbreak": {"filtered": True, "detected": True}},
                },
            }
        },
    ),
    hopeless={
        "deployment": failed(
            404,
            {
                "error": {
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist.",
                }
            },
        ),
        "key": failed(
            401,
            {
                "error": {
                    "code": "401",
                    "message": "Access denied due to invalid subscription key or wrong API endpoint.",
                }
            },
        ),
    },
)

GEMINI = Emulation(
    name="gemini",
    sources=("https://ai.google.dev/gemini-api/docs/openai",),
    rules=(
        Rule(
            "https://github.com/MinLL/SkyrimNet-GamePlugin/issues/77",
            beyond(_OPENAI_FIELDS - {"frequency_penalty", "presence_penalty", "seed"}, _gemini_unknown),
        ),
    ),
    path="/v1beta/openai",
    models={"object": "list", "data": [{"id": "models/judge", "object": "model"}, {"id": "models/other"}]},
    too_long=lambda context, tokens: _gemini(
        400,
        f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({context}).",
        "INVALID_ARGUMENT",
    ),
    cut="MAX_TOKENS",  # https://ai.google.dev/api/generate-content#FinishReason
    shape=lambda content, _: {"content": content},
    hopeless={
        "key": _gemini(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
        "credit": _gemini(
            429, "You exceeded your current quota, please check your plan and billing details.", "RESOURCE_EXHAUSTED"
        ),
    },
)

TOGETHER = Emulation(
    name="together",
    sources=("https://docs.together.ai/reference/chat-completions-1", "https://docs.together.ai/reference/models-1"),
    rules=(
        Rule(
            "https://docs.pydantic.dev/latest/errors/validation_errors/#extra_forbidden",
            beyond(_VLLM_FIELDS - {"repetition_penalty"}, lambda names: failed(422, {"detail": _pydantic(names)})),
        ),
    ),
    models=[{"id": "judge", "object": "model", "context_length": 2_048}, {"id": "other", "context_length": 8}],
    too_long=lambda context, tokens: openai_error(
        422,
        f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {context}. Given: {tokens} `inputs` "
        "tokens and 256 `max_new_tokens`",
    ),
    stopped="eos",
    hopeless={"credit": openai_error(402, "Credit limit exceeded", type="credit_limit", code=None)},
)

DEEPINFRA = Emulation(
    name="deepinfra",
    sources=("https://deepinfra.com/docs/openai_api",),
    rules=(
        Rule(
            "FastAPI, whose errors are `detail`: https://fastapi.tiangolo.com/tutorial/handling-errors/",
            beyond(_VLLM_FIELDS - {"seed"}, lambda names: failed(422, {"detail": _pydantic(names)})),
        ),
    ),
    path="/v1/openai",
    models={"object": "list", "data": [{"id": "judge", "metadata": {"context_length": 2_048}}]},
    too_long=_openai_too_long,
    hopeless={"credit": failed(402, {"detail": {"error": "Your balance is exhausted"}})},
)

NIM = Emulation(
    name="nim",
    sources=("https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html",),
    rules=(
        Rule(
            "https://github.com/NVIDIA/garak/issues/748",
            beyond(
                _OPENAI_FIELDS - {"frequency_penalty", "presence_penalty"},
                lambda names: failed(
                    422,
                    {
                        "type": "urn:inference-service:problem-details:unprocessable-entity",
                        "title": "Unprocessable Entity",
                        "status": 422,
                        "detail": "\n".join(
                            f"body -> {name}\n  Extra inputs are not permitted (type=extra_forbidden)" for name in names
                        ),
                    },
                ),
            ),
        ),
    ),
    models={"object": "list", "data": [{"id": "judge"}]},
    too_long=_openai_too_long,
)

OPENROUTER = Emulation(
    name="openrouter",
    sources=(
        "https://openrouter.ai/docs/api/reference/errors-and-debugging",
        "https://openrouter.ai/docs/client-sdks/python/components/topproviderinfo.md: context_length of the top "
        "provider, which may be null",
    ),
    path="/api/v1",
    models={
        "data": [
            {
                "id": "judge",
                "context_length": 8_192,
                "top_provider": {"context_length": 2_048, "max_completion_tokens": 1_024, "is_moderated": False},
            },
            {"id": "other", "context_length": 8_192, "top_provider": {"context_length": None, "is_moderated": True}},
        ]
    },
    too_long=lambda context, tokens: as_json(
        {
            "error": {
                "code": 400,
                "message": f"This endpoint's maximum context length is {context} tokens. However, you requested about "
                f"{tokens} tokens.",
            }
        }
    ),
    hopeless={
        "credit": as_json({"error": {"code": 402, "message": "Insufficient credits. Add more using the website"}}),
        "provider": failed(
            404, {"error": {"code": 404, "message": "No allowed providers are available for the selected model."}}
        ),
    },
)

OLLAMA = Emulation(
    name="ollama",
    sources=(
        "ollama/ollama openai/openai.go: unknown fields are ignored, done_reason is the finish reason",
        "https://github.com/ollama/ollama/issues/17889: a prompt beyond the context is cut to half of it, status 200",
    ),
    models={"object": "list", "data": [{"id": "judge:latest", "object": "model"}, {"id": "other:7b"}]},
    others={  # ollama/ollama api/types.go, ProcessModelResponse
        "/api/ps": lambda _: {"models": [{"name": "judge:latest", "model": "judge:latest", "context_length": 2_048}]}
    },
    hopeless={"model": failed(404, {"error": {"message": 'model "judge" not found', "type": "not_found_error"}})},
)

TGI = Emulation(
    name="tgi",
    sources=("huggingface/text-generation-inference router/src/validation.rs",),
    rules=(
        Rule(
            "validation.rs, ValidationError::TopP",
            where(
                "top_p",
                lambda value: not 0 < value < 1,
                _tgi("Input validation error: `top_p` must be > 0.0 and < 1.0"),
            ),
        ),
    ),
    models={"object": "list", "data": [{"id": "judge", "object": "model", "owned_by": "judge"}]},
    too_long=lambda context, tokens: _tgi(
        f"Input validation error: `inputs` must have less than {context} tokens. Given: {tokens}"
    ),
    others={"/info": lambda _: {"model_id": "judge", "max_input_tokens": 1_792, "max_total_tokens": 2_048}},
)

MISTRAL = Emulation(
    name="mistral",
    sources=("https://docs.mistral.ai/api/#tag/chat/operation/chat_completion_v1_chat_completions_post",),
    rules=(
        Rule(
            "https://github.com/Vali-98/ChatterUI/issues/143",
            beyond(
                _OPENAI_FIELDS - {"seed", "max_completion_tokens"},
                lambda names: failed(
                    422,
                    {
                        "object": "error",
                        "message": {"detail": _pydantic(names)},
                        "type": "invalid_request_error",
                        "param": None,
                        "code": None,
                    },
                ),
            ),
        ),
    ),
    models={"object": "list", "data": [{"id": "judge", "max_context_length": 2_048}]},
    too_long=lambda context, tokens: failed(
        400,
        {
            "object": "error",
            "message": f"Prompt contains {tokens} tokens, too large for model with {context} maximum context length",
            "type": "invalid_request_error",
            "code": "3051",
        },
    ),
    cut="model_length",
    shape=lambda content, thoughts: {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": thoughts}]},
            {"type": "text", "text": content},
        ]
    },
    hopeless={"key": failed(401, {"detail": "Unauthorized"})},
)

LLAMA_CPP = Emulation(
    name="llama.cpp",
    sources=("ggml-org/llama.cpp tools/server/README.md",),
    path="/engines/llama.cpp/v1",  # Docker Model Runner's
    models={"object": "list", "data": [{"id": "judge", "meta": {"n_ctx_train": 32_768, "n_ctx": 2_048}}]},
    too_long=lambda context, tokens: failed(
        400,
        {
            "error": {
                "code": 400,
                "message": f"request ({tokens} tokens) exceeds the available context size ({context} tokens), try "
                "increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": tokens,
                "n_ctx": context,
            }
        },
    ),
    others={
        "/engines/llama.cpp/apply-template": lambda body: {"prompt": f"<|im_start|>{body['messages'][-1]['content']}"},
        "/engines/llama.cpp/tokenize": lambda body: {"tokens": [0] * tokens_of(body.get("content", ""))},
    },
)

LITELLM = Emulation(
    name="litellm",
    sources=("BerriAI/litellm litellm/utils.py and litellm/exceptions.py, https://docs.litellm.ai/docs/proxy/",),
    rules=(
        Rule(
            "litellm/utils.py: UnsupportedParamsError names all of them twice",
            beyond(
                _OPENAI_FIELDS,
                lambda names: failed(
                    400,
                    {
                        "error": {
                            "message": f"litellm.UnsupportedParamsError: openai does not support parameters: {names}, "
                            "for model=judge. To drop these, set `litellm.drop_params=True`. If you want to use these "
                            f"params dynamically send allowed_openai_params={names} in your request.",
                            "type": "None",
                            "param": None,
                            "code": "400",
                        }
                    },
                ),
            ),
        ),
    ),
    models={"object": "list", "data": [{"id": "openai/*", "object": "model"}]},
    model="openai/judge",
    too_long=lambda context, tokens: failed(
        400,
        {
            "error": {
                "message": "litellm.BadRequestError: litellm.ContextWindowExceededError: OpenAIException - prompt too "
                f"long: {tokens}. Received Model Group=judge",
                "type": None,
                "param": None,
                "code": "400",
            }
        },
    ),
    hopeless={
        "credit": failed(
            429,
            {
                "error": {
                    "message": "litellm.RateLimitError: OpenAIException - You exceeded your current quota, please "
                    "check your plan and billing details. insufficient_quota",
                    "type": "throttling_error",
                    "code": "429",
                }
            },
        )
    },
)


def _sglang(message: str) -> Raw:
    """python/sglang/srt/entrypoints/openai/serving_base.py, create_error_response: nothing is wrapped in `error`."""
    return failed(400, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400})


SGLANG = Emulation(
    name="sglang",
    sources=("sgl-project/sglang python/sglang/srt/sampling/sampling_params.py",),
    rules=(
        Rule(
            "SamplingParams.verify; temperature 0 sets top_k = 1 before, so that greedy requests pass",
            lambda body: (
                _sglang("top_k must be -1 (disable) or at least 1, got 0.")
                if body.get("temperature", 1) > 0 and body.get("top_k") == 0
                else None
            ),
        ),
    ),
    models={"object": "list", "data": [{"id": "judge", "max_model_len": 2_048}]},
    too_long=lambda context, tokens: _sglang(
        f"The input ({tokens} tokens) is longer than the model's context length ({context} tokens)."
    ),
    others={"/tokenize": lambda body: {"count": tokens_of(body.get("prompt") or body["messages"][-1]["content"])}},
)

GROQ = Emulation(
    name="groq",
    sources=("https://console.groq.com/docs/openai",),
    rules=(
        Rule(
            "https://github.com/fanenr/chatbot/issues/21: one field at a time, with a guess at another's name",
            beyond(
                _OPENAI_FIELDS,
                lambda names: openai_error(400, f"property '{names[0]}' is unsupported, did you mean 'top_p'?"),
            ),
        ),
    ),
    path="/openai/v1",
    models={"object": "list", "data": [{"id": "judge", "context_window": 2_048, "max_completion_tokens": 1_024}]},
    too_long=lambda *_: openai_error(400, "Please reduce the length of the messages or completion.", param="messages"),
)

XAI = Emulation(
    name="xai",
    sources=("https://docs.x.ai/docs/api-reference",),
    rules=(
        Rule(
            "https://github.com/BerriAI/litellm/issues/14056: fields by their camel-case names",
            beyond(
                _OPENAI_FIELDS - {"presence_penalty", "frequency_penalty"},
                lambda names: failed(
                    400,
                    {
                        "code": "Client specified an invalid argument",
                        "error": f"Argument not supported on this model: {camel(names[0])}",
                    },
                ),
            ),
        ),
    ),
    models={"data": [{"id": "judge"}]},
    too_long=lambda context, tokens: failed(
        400,
        {
            "code": "Client specified an invalid argument",
            "error": f"This model's maximum prompt length is {context} but the request contains {tokens} tokens.",
        },
    ),
)

ANTHROPIC = Emulation(
    name="anthropic",
    sources=(
        "https://docs.anthropic.com/en/api/openai-sdk",
        "https://docs.anthropic.com/en/api/models-list: the list wants the key in x-api-key",
    ),
    models=failed(
        401, {"type": "error", "error": {"type": "authentication_error", "message": "x-api-key is required"}}
    ),
    rules=(
        Rule(
            "https://github.com/browseros-ai/BrowserOS/issues/208",
            lambda body: (
                openai_error(
                    400,
                    "temperature and top_p cannot both be specified for this model. Please use only one.",
                    code=None,
                )
                if {"temperature", "top_p"} <= body.keys()
                else None
            ),
        ),
    ),
    too_long=lambda context, tokens: openai_error(400, f"prompt is too long: {tokens} tokens > {context} maximum"),
    cut="max_tokens",
    stopped="end_turn",
    shape=lambda content, _: {"content": content},
)

DEEPSEEK = Emulation(
    name="deepseek",
    sources=("https://api-docs.deepseek.com/api/create-chat-completion",),
    models={"object": "list", "data": [{"id": "judge", "object": "model", "owned_by": "deepseek"}]},
    too_long=_openai_too_long,
    hopeless={"credit": openai_error(402, "Insufficient Balance", type="unknown_error", code="invalid_request_error")},
)

TRANSFORMERS = Emulation(
    name="transformers serve",
    sources=("transformers 5.24.0 as run: docs/reference/servers.md",),
    rules=(
        Rule(
            "a Python set in a text, in any order",
            beyond(
                _OPENAI_FIELDS | {"chat_template_kwargs"},
                lambda names: failed(422, {"detail": f"Unexpected fields in the request: {set(names)}"}),
            ),
        ),
    ),
    models={"object": "list", "data": [{"id": "judge"}]},
    too_long=_openai_too_long,
)

TABBYAPI = Emulation(
    name="tabbyapi",
    sources=(
        "theroyallab/tabbyAPI endpoints/core/router.py and endpoints/core/utils/model.py: the list has names alone, "
        "/v1/model the parameters of the loaded model",
        "endpoints/core/types/model.py: ModelCardParameters.max_seq_len; types/token.py: a text or messages, tokens "
        "and length",
    ),
    models={"object": "list", "data": [{"id": "judge", "object": "model", "owned_by": "tabbyAPI", "parameters": None}]},
    # endpoints/OAI/utils/chat_completion.py, generate_chat_completion: every failure is this one, a long prompt too.
    too_long=lambda *_: failed(
        503,
        {"detail": "Chat completion aborted. Maybe the model was unloaded? Please check the server console."},
    ),
    others={
        "/v1/model": lambda _: {
            "id": "judge",
            "object": "model",
            "parameters": {"max_seq_len": 2_048, "rope_scale": 1.0, "cache_size": 8_192, "cache_mode": "FP16"},
        },
        "/v1/token/encode": lambda body: (
            {"tokens": [0] * tokens_of(body["text"][-1]["content"]), "length": tokens_of(body["text"][-1]["content"])}
            if "text" in body
            else None
        ),
    },
)

LM_STUDIO = Emulation(
    name="lm studio",
    sources=(
        "https://github.com/zed-industries/zed/issues/33938: /api/v0/models has max_context_length and "
        "loaded_context_length, /v1/models neither",
    ),
    models={"object": "list", "data": [{"id": "judge", "object": "model", "owned_by": "organization_owner"}]},
    # https://github.com/anomalyco/opencode/issues/11141; an error that is a text: zed's issue above
    too_long=lambda context, tokens: failed(
        400, {"error": f"Cannot truncate prompt with n_keep ({tokens}) >= n_ctx ({context})"}
    ),
    others={
        "/api/v0/models": lambda _: {
            "object": "list",
            "data": [
                {
                    "id": "judge",
                    "object": "model",
                    "type": "llm",
                    "state": "loaded",
                    "max_context_length": 131_072,
                    "loaded_context_length": 2_048,
                }
            ],
        }
    },
)

KOBOLDCPP = Emulation(
    name="koboldcpp",
    sources=(
        "LostRuins/koboldcpp koboldcpp.py: /api/extra/true_max_context_length answers a value; a prompt beyond it "
        "loses its beginning",
    ),
    models={"object": "list", "data": [{"id": "koboldcpp/judge", "object": "model", "owned_by": "koboldcpp"}]},
    model="koboldcpp/judge",
    others={"/api/extra/true_max_context_length": lambda _: {"value": 2_048}},
)

CEREBRAS = Emulation(
    name="cerebras",
    sources=("https://inference-docs.cerebras.ai/api-reference/chat-completions",),
    rules=(
        Rule(
            "https://github.com/Alishahryar1/free-claude-code/issues/1136: all of them, a line for each, under a path",
            beyond(
                _OPENAI_FIELDS,
                lambda names: failed(
                    400,
                    {
                        "message": "\n".join(f"body.{name}: property 'body.{name}' is unsupported" for name in names),
                        "type": "invalid_request_error",
                        "param": "validation_error",
                        "code": "wrong_api_format",
                    },
                ),
            ),
        ),
    ),
    models={"object": "list", "data": [{"id": "judge", "object": "model", "owned_by": "Cerebras"}]},
    # https://github.com/cline/cline/issues/5140
    too_long=lambda context, tokens: failed(
        400,
        {
            "message": "Please reduce the length of the messages or completion. Current length is "
            f"{tokens} while limit is {context}",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        },
    ),
    shape=lambda content, thoughts: {"content": content, "reasoning": thoughts},
)

ZHIPU = Emulation(
    name="zhipu",
    sources=("https://docs.z.ai/api-reference/llm/chat-completion",),
    path="/api/paas/v4",
    # https://github.com/zeroclaw-labs/zeroclaw/issues/4124
    too_long=lambda *_: failed(400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    hopeless={  # https://github.com/zhayujie/CowAgent/issues/2910, https://github.com/zai-org/GLM-5/issues/148
        "credit": failed(429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}),
        "credit-in-english": failed(
            429,
            {"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}},
        ),
    },
)

DASHSCOPE = Emulation(
    name="dashscope",
    sources=("https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",),
    path="/compatible-mode/v1",
    # https://github.com/agentscope-ai/QwenPaw/issues/6255
    too_long=lambda context, _: failed(
        400,
        {
            "error": {
                "code": "invalid_parameter_error",
                "message": f"<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, {context}]",
                "param": None,
                "type": "invalid_request_error",
            },
            "request_id": "81a373d6",
        },
    ),
    hopeless={  # https://github.com/hsliuping/TradingAgents-CN/issues/170
        "credit": failed(
            400,
            {
                "error": {
                    "code": "Arrearage",
                    "param": None,
                    "message": "Access denied, please make sure your account is in good standing.",
                    "type": "Arrearage",
                },
                "request_id": "f9fdb027",
            },
        )
    },
)

MOONSHOT = Emulation(
    name="moonshot",
    sources=("https://platform.moonshot.ai/docs/api/chat",),
    rules=tuple(
        Rule(
            "https://github.com/iOfficeAI/gemini-cli-pro/pull/30: temperature 1 and top_p 0.95 alone for kimi-k2.5",
            where(
                name,
                other_than(only),
                failed(
                    400,
                    {
                        "error": {
                            "message": f"invalid {name}: only {only:g} is allowed for this model",
                            "type": "invalid_request_error",
                        }
                    },
                ),
            ),
        )
        for name, only in (("temperature", 1), ("top_p", 0.95))
    ),
    models={"object": "list", "data": [{"id": "judge", "object": "model", "context_length": 2_048}]},
    too_long=lambda context, tokens: failed(
        400,
        {
            "error": {
                "message": f"Invalid request: Your request exceeded model token limit: {context} (requested: {tokens})",
                "type": "invalid_request_error",
            }
        },
    ),
    hopeless={
        # https://github.com/MoonshotAI/Kimi-K2/issues/5
        "quota": failed(
            403,
            {
                "error": {
                    "message": "Your account is not active, organization <o> exceeded current quota, please check your "
                    "plan and billing details",
                    "type": "exceeded_current_quota_error",
                }
            },
        ),
        # https://github.com/MoonshotAI/kimi-code/pull/1857
        "credit": failed(
            429,
            {
                "error": {
                    "message": "Your account org-1 <ak-1> is suspended due to insufficient balance, please recharge "
                    "your account or check your plan and billing details",
                    "type": "exceeded_current_quota_error",
                }
            },
        ),
    },
    profile="kimi-k2.5",
)

MINIMAX = Emulation(
    name="minimax",
    sources=("https://platform.minimax.io/docs/api-reference/errorcode.md",),
    # https://github.com/MiniMax-AI/MiniMax-M2/issues/119, in the form of BigPizzaV3/CodexPlusPlus#267
    too_long=lambda *_: failed(
        400,
        {
            "type": "error",
            "error": {
                "type": "bad_request_error",
                "message": "invalid params, context window exceeds limit (2013)",
                "http_code": "400",
            },
            "request_id": "0660b098",
        },
    ),
    hopeless={
        # https://github.com/MiniMax-AI/MiniMax-M2/issues/62
        "credit": failed(
            500,
            {
                "type": "error",
                "error": {"type": "api_error", "message": "insufficient balance (1008)"},
                "request_id": "05",
            },
        )
    },
)

GIGACHAT = Emulation(
    name="gigachat",
    sources=(
        "https://developers.sber.ru/docs/en/gigachat/api/reference",
        "https://developers.sber.ru/docs/ru/gigachat-b2bank/api/errors-description: 402, 413 and 422 with status and "
        "message",
    ),
    path="/api/v1",
    models={"object": "list", "data": [{"id": "judge", "object": "model", "owned_by": "salutedevices"}]},
    too_long=lambda *_: failed(413, {"status": 413, "message": "Payload too large"}),
    shape=lambda content, _: {"content": content},
    hopeless={
        "credit": failed(402, {"status": 402, "message": "Payment Required"}),
        "model": failed(404, {"status": 404, "message": "No such model"}),
    },
)

EMULATIONS = (
    *(OPENAI_CHAT, OPENAI_REASONING, AZURE, GEMINI, TOGETHER, DEEPINFRA, NIM, OPENROUTER, OLLAMA, TGI, MISTRAL),
    *(LLAMA_CPP, LITELLM, SGLANG, GROQ, XAI, ANTHROPIC, DEEPSEEK, TRANSFORMERS, TABBYAPI, LM_STUDIO, KOBOLDCPP),
    *(CEREBRAS, ZHIPU, DASHSCOPE, MOONSHOT, MINIMAX, GIGACHAT),
)


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def tokens_of(prompt: str) -> int:
    """A tokenizer that makes two tokens of a word and one of each other character that is no space."""
    return sum(2 if piece[0].isalnum() else 1 for piece in re.findall(r"\w+|[^\w\s]", prompt))


class EmulatedServer(FakeJudge):
    """A server that speaks as `emulation` says. `refusals` counts what it refused; `then` replaces all later answers
    to a request that is refused by nothing.
    """

    def __init__(self, emulation: Emulation) -> None:
        super().__init__()
        self.emulation = emulation
        self.refusals = 0
        self.then: Callable[[Call], Raw] | None = None

    @property
    def url(self) -> str:
        query = f"?{self.emulation.query}" if self.emulation.query else ""
        return f"http://127.0.0.1:{self.port}{self.emulation.path}{query}"

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> Raw:
        known = self.emulation
        address, _, query = path.partition("?")
        wanted = f"Bearer {KEY}" if known.key_header == "authorization" else KEY
        if known.others.get(address):
            found = known.others[address](json.loads(body) if body else {})
            return failed(400, {"error": {"message": "bad request"}}) if found is None else as_json(found)
        if query != known.query:  # Azure: https://learn.microsoft.com/azure/ai-services/openai/reference
            return failed(404, {"error": {"code": "404", "message": "Resource not found"}})
        if headers.get(known.key_header) != wanted:
            return failed(401, {"error": {"message": "no key, or a wrong one"}})
        if address == f"{known.path}/models" and known.models is not None:
            return known.models if isinstance(known.models, Raw) else as_json(known.models)
        if address == f"{known.path}/chat/completions":
            call = Call(json.loads(body), headers, 0.0)
            self.calls.append(call)
            return self._judged(call)
        return failed(404, {"error": {"code": "404", "message": "Resource not found"}})

    def _judged(self, call: Call) -> Raw:
        known = self.emulation
        refusal = next((found for rule in known.rules if (found := rule.check(call.body))), None)
        if refusal is not None:
            self.refusals += 1
            return refusal
        if self.then is not None:
            return self.then(call)
        tokens = tokens_of(call.prompt)
        if FILTERED in call.prompt and known.filtered is not None:
            return known.filtered
        if tokens > known.context:
            if known.too_long is not None:
                return known.too_long(known.context, tokens)
            tokens = known.context // 2 + 2
        if CUT in call.prompt:
            return known.cut_reply or self._completion("1", tokens, known.cut)  # 1, of what might have become 1.5
        score = f"{score_of(call.prompt):g}"
        content = f'{{"rationale": "Потому что.", "score": {score}}}' if "response_format" in call.body else score
        return self._completion(content, tokens, known.stopped)

    def _completion(self, content: str, tokens: int, finish: str | None) -> Raw:
        message = {"role": "assistant", **self.emulation.shape(content, "Потому что.")}
        return as_json(
            {
                "id": "gen-1",
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                "usage": {"prompt_tokens": tokens, "completion_tokens": 10, "total_tokens": tokens + 10},
            }
        )
