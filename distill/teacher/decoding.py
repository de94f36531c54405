"""Loops over a torch model: replies token by token, and how likely given tokens are."""

import json
from collections.abc import Sequence
from typing import Any

from curate.distill.teacher.protocol import Sampling

Torch = Any  # torch has types, but is not there where these are checked


def generate(
    network: Torch, tokenizer: Torch, prompts: Sequence[list[int]], sampling: Sequence[Sampling]
) -> list[tuple[list[int], str]]:
    """The tokens of a reply to each prompt, and why it ended: `stop` or `length`."""
    import torch

    device = network.device
    tokens, mask = _padded(prompts, device)
    ends = _end_tokens(network, tokenizer)
    draws = [_Draw(one, tokenizer, network, ends) for one in sampling]
    replies: list[list[int]] = [[] for _ in prompts]
    position = mask.sum(1, keepdim=True)
    past = None
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for _ in range(max(one.max_tokens for one in sampling)):
        found = network(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        past = found.past_key_values
        logits = found.logits[:, -1].float().cpu()
        following = [draw(row, reply) for draw, row, reply in zip(draws, logits, replies, strict=True)]
        if all(draw.reason for draw in draws):
            break
        tokens = torch.tensor([[token] for token in following], device=device)
        mask = torch.cat([mask, torch.ones_like(tokens)], 1)
        positions, position = position, position + 1
    return [(reply, draw.reason) for reply, draw in zip(replies, draws, strict=True)]


def sequence_logs(network: Torch, rows: Sequence[list[int]], lengths: Sequence[int]) -> list[list[float]]:
    """The logarithms of the probabilities of the last tokens of each row, as many as `lengths` says."""
    import torch

    asked = [k for k, length in enumerate(lengths) if length]
    found: list[list[float]] = [[] for _ in rows]
    if not asked:
        return found
    longest = max(lengths)
    numbers: dict[tuple[int, ...], int] = {}  # of inputs: rows that differ in their last token have one
    for k in asked:
        numbers.setdefault(tuple(rows[k][:-1]), len(numbers))
    inputs, mask = _padded([list(row) for row in numbers], network.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = network(input_ids=inputs, attention_mask=mask, position_ids=positions, logits_to_keep=longest).logits
    for k in asked:  # one by one: in full precision all together may not fit
        n = lengths[k]
        logs = torch.log_softmax(logits[numbers[tuple(rows[k][:-1])], -n:].float(), -1)
        wanted = torch.tensor(rows[k][-n:], device=logs.device)
        found[k] = logs.gather(1, wanted[:, None])[:, 0].tolist()
    return found


class _Draw:
    """How the tokens of one reply are drawn, and whether it has ended."""

    def __init__(self, sampling: Sampling, tokenizer: Torch, network: Torch, ends: set[int]) -> None:
        import torch

        self.sampling, self.ends = sampling, ends
        self.reason = ""
        self.generator = torch.Generator().manual_seed(sampling.seed % 2**63)
        self.grammar = _Grammar.of(sampling, tokenizer, network, ends)

    def __call__(self, logits: Torch, reply: list[int]) -> int:
        """The next token, added to the reply unless it ends it; a reply that has ended gets any token."""
        if self.reason:
            return 0
        if self.grammar is not None:
            self.grammar.limit(logits)
        token = self._drawn(logits)
        if token in self.ends:
            self.reason = "stop"
            return token
        reply.append(token)
        if self.grammar is not None:
            self.grammar.matcher.accept_token(token)
        if len(reply) == self.sampling.max_tokens:
            self.reason = "length"
        return token

    def _drawn(self, logits: Torch) -> int:
        import torch

        if self.sampling.temperature == 0:
            return int(logits.argmax())
        shares = torch.softmax(logits / self.sampling.temperature, -1)
        if self.sampling.top_p < 1:
            ordered, order = shares.sort(descending=True, stable=True)
            ordered[ordered.cumsum(0) - ordered >= self.sampling.top_p] = 0  # all before it are enough
            return int(order[torch.multinomial(ordered, 1, generator=self.generator)])
        return int(torch.multinomial(shares, 1, generator=self.generator))


class _Grammar:
    """What a limited reply may go on with, by xgrammar, which vLLM uses too."""

    def __init__(self, compiled: Torch, size: int) -> None:
        import xgrammar

        self.matcher = xgrammar.GrammarMatcher(compiled)
        self.allowed = xgrammar.allocate_token_bitmask(1, size)

    @staticmethod
    def of(sampling: Sampling, tokenizer: Torch, network: Torch, ends: set[int]) -> "_Grammar | None":
        """The grammar of a reply, which then ends with one of the tokens `ends`; None where it is free."""
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
        """Make impossible what may not follow."""
        import xgrammar

        self.matcher.fill_next_token_bitmask(self.allowed)
        xgrammar.apply_token_bitmask_inplace(logits[None], self.allowed)


def _compiler(tokenizer: Torch, network: Torch, ends: set[int]) -> Torch:
    """The compiler of grammars for a tokenizer, which keeps what it has compiled; made once."""
    from curate.distill.teacher.local import need

    need("teacher.transformers", "transformers", "xgrammar")
    import xgrammar

    if not hasattr(tokenizer, "_curate_grammars"):
        size = int(network.config.vocab_size)
        known = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=size, stop_token_ids=sorted(ends))
        tokenizer._curate_grammars = xgrammar.GrammarCompiler(known)
    return tokenizer._curate_grammars


def _end_tokens(network: Torch, tokenizer: Torch) -> set[int]:
    """The tokens that end a reply."""
    named = network.generation_config.eos_token_id
    ends = named if isinstance(named, list) else [named]
    return {int(end) for end in [*ends, tokenizer.eos_token_id] if end is not None}


def _padded(rows: Sequence[list[int]], device: Torch) -> tuple[Torch, Torch]:
    """Rows of tokens as a rectangle, filled up on the left, and which of it are tokens."""
    import torch

    width = max(len(row) for row in rows)
    tokens = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for number, row in enumerate(rows):
        tokens[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    return tokens.to(device), mask.to(device)
