"""Decoding with a torch model: sample replies token by token, and compute log-probabilities of given tokens."""

import json
from collections.abc import Sequence
from typing import Any

from curate.distill.teacher.protocol import Sampling

Torch = Any  # any object of torch, which is not installed where types are checked


def generate(
    network: Torch, tokenizer: Torch, prompts: Sequence[list[int]], sampling: Sequence[Sampling]
) -> list[tuple[list[int], str]]:
    """Sample the tokens of a reply to each prompt; with them, why the reply ended: `stop` or `length`."""
    import torch

    device = network.device
    tokens, mask = _pad_left(prompts, device)
    ends = _end_tokens(network, tokenizer)
    samplers = [_Sampler(parameters, tokenizer, network, ends) for parameters in sampling]
    replies: list[list[int]] = [[] for _ in prompts]
    position = mask.sum(1, keepdim=True)
    cache = None
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for _ in range(max(parameters.max_tokens for parameters in sampling)):
        output = network(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        logits = output.logits[:, -1].float().cpu()
        next_tokens = [sampler(row, reply) for sampler, row, reply in zip(samplers, logits, replies, strict=True)]
        if all(sampler.reason for sampler in samplers):
            break
        tokens = torch.tensor([[token] for token in next_tokens], device=device)
        mask = torch.cat([mask, torch.ones_like(tokens)], 1)
        positions, position = position, position + 1
    return [(reply, sampler.reason) for reply, sampler in zip(replies, samplers, strict=True)]


def sequence_logs(network: Torch, rows: Sequence[list[int]], lengths: Sequence[int]) -> list[list[float]]:
    """The log-probabilities of the last `lengths[k]` tokens of each row k."""
    import torch

    scored = [k for k, length in enumerate(lengths) if length]
    result: list[list[float]] = [[] for _ in rows]
    if not scored:
        return result
    longest = max(lengths)
    input_rows: dict[tuple[int, ...], int] = {}  # row of the batch; inputs without the last token may be shared
    for k in scored:
        input_rows.setdefault(tuple(rows[k][:-1]), len(input_rows))
    inputs, mask = _pad_left([list(row) for row in input_rows], network.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = network(input_ids=inputs, attention_mask=mask, position_ids=positions, logits_to_keep=longest).logits
    for k in scored:  # one by one, as all in full precision may not fit into memory
        n = lengths[k]
        logs = torch.log_softmax(logits[input_rows[tuple(rows[k][:-1])], -n:].float(), -1)
        targets = torch.tensor(rows[k][-n:], device=logs.device)
        result[k] = logs.gather(1, targets[:, None])[:, 0].tolist()
    return result


class _Sampler:
    """Samples the tokens of one reply. `reason` says why the reply has ended, and is "" until then."""

    def __init__(self, sampling: Sampling, tokenizer: Torch, network: Torch, ends: set[int]) -> None:
        import torch

        self.sampling, self.ends = sampling, ends
        self.reason = ""
        self.generator = torch.Generator().manual_seed(sampling.seed % 2**63)
        self.grammar = _Grammar.of(sampling, tokenizer, network, ends)

    def __call__(self, logits: Torch, reply: list[int]) -> int:
        """Sample the next token, and append it to the reply unless it is an end token. Returns 0 after the end."""
        if self.reason:
            return 0
        if self.grammar is not None:
            self.grammar.limit(logits)
        token = self._sample(logits)
        if token in self.ends:
            self.reason = "stop"
            return token
        reply.append(token)
        if self.grammar is not None:
            self.grammar.matcher.accept_token(token)
        if len(reply) == self.sampling.max_tokens:
            self.reason = "length"
        return token

    def _sample(self, logits: Torch) -> int:
        import torch

        if self.sampling.temperature == 0:
            return int(logits.argmax())
        shares = torch.softmax(logits / self.sampling.temperature, -1)
        if self.sampling.top_p < 1:
            ordered, order = shares.sort(descending=True, stable=True)
            ordered[ordered.cumsum(0) - ordered >= self.sampling.top_p] = 0  # likelier tokens already add up to top_p
            return int(order[torch.multinomial(ordered, 1, generator=self.generator)])
        return int(torch.multinomial(shares, 1, generator=self.generator))


class _Grammar:
    """The constraint on a reply, by xgrammar (as in vLLM)."""

    def __init__(self, compiled: Torch, size: int) -> None:
        import xgrammar

        self.matcher = xgrammar.GrammarMatcher(compiled)
        self.allowed = xgrammar.allocate_token_bitmask(1, size)

    @staticmethod
    def of(sampling: Sampling, tokenizer: Torch, network: Torch, ends: set[int]) -> "_Grammar | None":
        """The grammar of a constrained reply that ends with one of the tokens `ends`; None without a constraint."""
        if sampling.choices is None and sampling.regex is None and sampling.schema is None:
            return None
        compiler = _compiler(tokenizer, network, ends)
        if sampling.regex is not None:
            compiled = compiler.compile_regex(sampling.regex)
        elif sampling.schema is not None:
            compiled = compiler.compile_json_schema(sampling.schema)
        else:
            quoted = " | ".join(json.dumps(choice) for choice in sampling.choices or ())
            compiled = compiler.compile_grammar(f"root ::= {quoted}")
        return _Grammar(compiled, int(network.config.vocab_size))

    def limit(self, logits: Torch) -> None:
        """Mask the logits of tokens that the grammar does not allow next."""
        import xgrammar

        self.matcher.fill_next_token_bitmask(self.allowed)
        xgrammar.apply_token_bitmask_inplace(logits[None], self.allowed)


def _compiler(tokenizer: Torch, network: Torch, ends: set[int]) -> Torch:
    """The grammar compiler of a tokenizer. It caches compiled grammars, so there is one per tokenizer."""
    from curate.distill.teacher.local import require_modules

    require_modules("teacher.transformers", "transformers", "xgrammar")
    import xgrammar

    if not hasattr(tokenizer, "_curate_grammars"):
        size = int(network.config.vocab_size)
        tokenizer_info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=size, stop_token_ids=sorted(ends)
        )
        tokenizer._curate_grammars = xgrammar.GrammarCompiler(tokenizer_info)
    return tokenizer._curate_grammars


def _end_tokens(network: Torch, tokenizer: Torch) -> set[int]:
    """The tokens that end a reply."""
    configured = network.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {int(end) for end in [*ends, tokenizer.eos_token_id] if end is not None}


def _pad_left(rows: Sequence[list[int]], device: Torch) -> tuple[Torch, Torch]:
    """Rows of tokens as a matrix, padded on the left, and its attention mask."""
    import torch

    width = max(len(row) for row in rows)
    tokens = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for number, row in enumerate(rows):
        tokens[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    return tokens.to(device), mask.to(device)
