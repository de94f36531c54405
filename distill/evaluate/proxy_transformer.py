"""The expensive proxy of an evaluation: a small GPT-like decoder in plain torch, trained on an arm from a fixed seed.

There are two budgets. Matched epochs: each arm is read equally often, so a small arm costs less compute. Matched
compute: each arm has as many steps as the full one, so a small arm is read more often.

An end token, beyond the tokenizer's vocabulary, precedes and follows each text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.distill.evaluate.tokens import Encoded, EncodedCorpus, Integers
from curate.distill.schedule import learning_rate_factor, window_starts
from curate.errors import RecipeError

LIBRARIES = ("torch",)
SPREAD = 0.5  # initial standard deviation of weights times sqrt(d_model); with less a small model starts slowly
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
MAX_GRADIENT_NORM = 1.0
BATCH_TOKENS = 1 << 14  # scored at a time
LN_2 = float(np.log(2))
IGNORED = -100  # target of a position that is not scored
SIZES = {  # of the decoders that have a name, with a vocabulary of 8,192 tokens
    "decoder_1m": {"d_model": 96, "layers": 4, "heads": 4},
    "decoder_10m": {"d_model": 320, "layers": 6, "heads": 5},
}


@dataclass(frozen=True)
class TransformerProxy:
    """Settings of a decoder, all that its result depends on."""

    name: str = "transformer"
    d_model: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 256
    batch: int = 16  # windows of context tokens
    epochs: float = 1.0  # over the full arm; with matched epochs, over every arm
    learning_rate: float = 2e-3
    seeds: int = 1  # models per draw
    steps: int | None = None  # of every model, instead of epochs
    budget: Literal["epochs", "compute"] = "epochs"

    def parameters(self, vocabulary: int) -> int:
        """Number of weights, embeddings included."""
        return (vocabulary + 1 + self.context) * self.d_model + self.layers * 12 * self.d_model**2

    def about(self, vocabulary: int) -> str:
        """What the models are, in words."""
        return f"decoders of {self.parameters(vocabulary):,} weights"

    def steps_for(self, tokens: int) -> int:
        """Steps that read `tokens` tokens `epochs` times."""
        return self.steps or max(1, round(self.epochs * tokens / (self.batch * self.context)))


class _Windows(NamedTuple):
    """Windows of held-out texts: inputs and targets, windows x tokens; a target that is not scored is IGNORED."""

    text_indices: Integers
    inputs: Integers
    targets: Integers


def transformer_bits(
    corpus: EncodedCorpus, chosen: Integers, proxy: TransformerProxy, steps: int, seed: int, threads: int = 2
) -> npt.NDArray[np.float64]:
    """Bits of each held-out text by a decoder trained on the chosen texts of the pool, on a GPU where there is one.

    Out:    minus the binary logarithm of the probability of a text and its end; a token is predicted from half a
            context or more, or from all tokens before it.
    Cost:   with 1.9 million weights 2,800 tokens/s on one core of a busy machine; a free one is faster.
    Errors: RecipeError without torch.
    """
    torch = import_torch()
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _decoder(proxy, corpus.vocabulary + 1).to(device)
    stream = _stream(corpus.pool.take(chosen), corpus.vocabulary)
    _train(model, stream, proxy, steps, seed, device)
    windows = _windows(corpus.heldout, corpus.vocabulary, proxy.context)
    return _score(model, windows, len(corpus.heldout), device)


def import_torch() -> Any:  # noqa: ANN401 - torch is not typed for us
    """Import torch.

    Errors: RecipeError.
    """
    try:
        import torch
    except ImportError:
        raise RecipeError(
            "evaluate.proxy: decoders need torch: pip install 'curate-lm[torch]', or take ngram"
        ) from None
    return torch


def _decoder(proxy: TransformerProxy, tokens: int) -> Any:  # noqa: ANN401
    """A decoder with pre-layer-norm blocks, learned positions, and one matrix for input and output embeddings."""
    import torch
    from torch import nn

    class Decoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(tokens, proxy.d_model)
            self.positions = nn.Embedding(proxy.context, proxy.d_model)
            self.blocks = nn.ModuleList(_block(proxy) for _ in range(proxy.layers))
            self.norm = nn.LayerNorm(proxy.d_model, bias=False)
            spread = SPREAD / proxy.d_model**0.5
            for weights in self.parameters():
                if weights.dim() > 1:
                    nn.init.normal_(weights, std=spread)
            for block in self.blocks:
                for last in (block.out, block.down):
                    nn.init.normal_(last.weight, std=spread / (2 * proxy.layers) ** 0.5)

        def forward(self, inputs: Any, targets: Any) -> Any:  # noqa: ANN401
            """The loss in nats of each target; 0 where it is IGNORED."""
            x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1], device=inputs.device))
            for block in self.blocks:
                x = block(x)
            logits = nn.functional.linear(self.norm(x), self.tokens.weight).float()
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED
            )
            return loss.view(targets.shape)

    return Decoder()


def _block(proxy: TransformerProxy) -> Any:  # noqa: ANN401
    """Causal self-attention and a feed-forward layer, each behind a layer norm and added to its input."""
    from torch import nn

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            d = proxy.d_model
            self.norms = nn.ModuleList([nn.LayerNorm(d, bias=False), nn.LayerNorm(d, bias=False)])
            self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
            self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

        def forward(self, x: Any) -> Any:  # noqa: ANN401
            shape = (*x.shape[:2], proxy.heads, -1)
            q, k, v = (part.view(shape).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, dim=-1))
            attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
            return x + self.down(nn.functional.gelu(self.up(self.norms[1](x))))

    return Block()


def _stream(texts: Encoded, end: int) -> Integers:
    """All texts in one sequence, with an end token before, between and after them."""
    stream = np.full(len(texts.ids) + len(texts) + 1, end, np.int64)
    stream[np.arange(len(texts.ids)) + np.repeat(np.arange(len(texts)) + 1, texts.n_tokens)] = texts.ids
    return stream


def _train(
    model: Any,  # noqa: ANN401
    stream: Integers,
    proxy: TransformerProxy,
    steps: int,
    seed: int,
    device: str,
) -> None:
    """AdamW with warm-up and cosine decay."""
    import torch

    groups: list[dict[str, object]] = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=proxy.learning_rate, betas=BETAS)
    size = min(proxy.context, len(stream) - 1)
    data = torch.from_numpy(stream)
    model.train()
    for step, starts in enumerate(window_starts(len(stream), proxy.context, proxy.batch, steps, seed)):
        for group in optimizer.param_groups:
            group["lr"] = proxy.learning_rate * learning_rate_factor(step, steps)
        positions = torch.from_numpy(starts[:, None] + np.arange(size + 1))
        window = data[positions].to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(window[:, :-1], window[:, 1:]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()


def _score(
    model: Any,  # noqa: ANN401
    batches: Iterator[_Windows],
    texts: int,
    device: str,
) -> npt.NDArray[np.float64]:
    """Bits of each text, summed over its windows."""
    import torch

    bits = np.zeros(texts)
    model.eval()
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        for windows in batches:
            loss = model(torch.from_numpy(windows.inputs).to(device), torch.from_numpy(windows.targets).to(device))
            np.add.at(bits, windows.text_indices, loss.double().sum(1).cpu().numpy() / LN_2)
    return bits


class _Window(NamedTuple):
    """A window in the stream of texts."""

    text_index: int
    start: int
    size: int
    context: int  # its first tokens, which an earlier window scores


def _windows(texts: Encoded, end: int, context: int) -> Iterator[_Windows]:
    """Batches of windows in which each token, and the end of each text, is a target once.

    Windows overlap by half a context, which the second one does not score.
    """
    stream = _stream(texts, end)
    begins = texts.bounds[:-1] + np.arange(len(texts))
    half = context // 2
    windows = [
        _Window(k, int(begin) + start, min(context, size - start), 0 if start == 0 else context - half)
        for k, (begin, size) in enumerate(zip(begins, (texts.n_tokens + 1).tolist(), strict=True))
        for start in range(0, max(1, size - context + half), half)
    ]
    windows.sort(key=lambda window: (window.size, window.start))
    rows = max(1, BATCH_TOKENS // context)
    for k in range(0, len(windows), rows):
        yield _batch(windows[k : k + rows], stream, end)


def _batch(windows: Sequence[_Window], stream: Integers, end: int) -> _Windows:
    """Windows sorted by size, padded to the longest, which is the last one."""
    longest = windows[-1].size
    inputs = np.full((len(windows), longest), end, np.int64)
    targets = np.full((len(windows), longest), IGNORED, np.int64)
    for row, (_, start, size, context) in enumerate(windows):
        inputs[row, :size] = stream[start : start + size]
        targets[row, context:size] = stream[start + context + 1 : start + size + 1]
    return _Windows(np.array([window.text_index for window in windows]), inputs, targets)
