"""For `vllm serve --logits-processors bench.long_reasoning:LongReasoning`: replies as long as a real judge's.

The demonstration judge ends its reasoning after about 20 tokens. Here a request with
`"vllm_xargs": {"reasoning_tokens": N}` ends it after N tokens. What follows the judge's own words is filler.
Interface: vLLM 0.32, vllm/v1/sample/logits_processor.
"""

from __future__ import annotations

import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor, RequestLogitsProcessor

END_OF_REASONING, END_OF_REPLY = 1018, 2  # </think> and <|im_end|> of the packaged demonstration judge


class LongReasoning(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM has no types here
    """Ends the reasoning after as many tokens as the request says, and neither it nor the reply before."""

    def is_argmax_invariant(self) -> bool:
        """False: the likeliest token may be one of the two."""
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> RequestLogitsProcessor | None:
        """The processor of one request; None where it does not ask for one or may not be as long."""
        wanted = int((params.extra_args or {}).get("reasoning_tokens", 0))
        if (params.max_tokens or 0) < wanted or not wanted:
            return None

        def keep_on(output: list[int], logits: torch.Tensor) -> torch.Tensor:
            if len(output) < wanted:
                logits[[END_OF_REASONING, END_OF_REPLY]] = float("-inf")
            elif len(output) == wanted:
                logits[:END_OF_REASONING] = logits[END_OF_REASONING + 1 :] = float("-inf")
            return logits

        return keep_on
