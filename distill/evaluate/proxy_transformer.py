"""The dearer proxy of an evaluation: a small GPT-like decoder in plain torch, trained on an arm from a fixed seed.

Two budgets are told apart. Matched epochs: each arm is read as often, so that a small arm costs less compute. Matched
compute: each arm has as many steps as the full one, so that a small arm is read more often.

A text begins behind the end of another one: END, a token of its own, is what stands before and behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curate.distill.evaluate.tokens import Encoded, Integers
from curate.distill.schedule import rate, window_starts
from curate.errors import RecipeError

LIBRARIES = ("torch",)
SPREAD = 0.5  # of weights at first, times the root of d_model: with less a small model takes long to begin
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
MOST_GRADIENT = 1.0
ASKED_TOKENS = 1 << 14  # at a time
BITS = float(np.log(2))
IGNORED = -100  # a token that is not asked for


@dataclass(frozen=True)
class TransformerProxy:
    """What decides the result of a decoder."""

    d_model: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 256
    batch: int = 16  # windows of context tokens
    epochs: float = 1.0  # over the full arm, and with matched epochs over each
    learning_rate: float = 2e-3
    seeds: int = 1  # models of each draw
    steps: int | None = None  # of every model, in the place of epochs
    budget: Literal["epochs", "compute"] = "epochs"

    def parameters(self, vocabulary: int) -> int:
        """Weights of the model, those of its tokens too."""
        return (vocabulary + 1 + self.context) * self.d_model + self.layers * 12 * self.d_model**2

    def steps_for(self, tokens: int) -> int:
        """Steps that read so many tokens `epochs` times."""
        return self.steps or max(1, round(self.epochs * tokens / (self.batch * self.context)))


def transformer_bits(
    corpus: Encoded, chosen: Integers, heldout: Encoded, vocabulary: int, proxy: TransformerProxy, steps: int,
    seed: int, threads: int = 2,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Bits of each held-out text by a decoder trained on some texts of the corpus, on a GPU where there is one.

    Out:    minus the binary logarithm of the probability of a text and its end; a token is foretold from half a
            context or more, or from all that stands before it.
    Cost:   with 1.9 million weights 2,800 tokens/s on one core of a busy machine; a free one is faster.
    Errors: RecipeError without torch.
    """
    torch = imported()
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _decoder(proxy, vocabulary + 1).to(device)
    stream = _stream(corpus.take(chosen), vocabulary)
    _train(model, stream, proxy, steps, seed, device)
    return _asked(model, heldout, vocabulary, proxy.context, device)


def imported() -> Any:  # noqa: ANN401 - torch is not typed for us
    """The module torch.

    Errors: RecipeError.
    """
    try:
        import torch
    except ImportError:
        raise RecipeError(
            "evaluate.proxy: transformer needs torch: pip install 'curate-lm[torch]', or take ngram"
        ) from None
    return torch


def _decoder(proxy: TransformerProxy, tokens: int) -> Any:  # noqa: ANN401
    """A decoder with layer norms first, learnt positions and one matrix for tokens in and out."""
    import torch
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
            q, k, v = (one.view(shape).transpose(1, 2) for one in self.qkv(self.norms[0](x)).chunk(3, dim=-1))
            found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(found.transpose(1, 2).reshape(x.shape))
            return x + self.down(nn.functional.gelu(self.up(self.norms[1](x))))

    class Decoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(tokens, proxy.d_model)
            self.positions = nn.Embedding(proxy.context, proxy.d_model)
            self.blocks = nn.ModuleList(Block() for _ in range(proxy.layers))
            self.norm = nn.LayerNorm(proxy.d_model, bias=False)
            spread = SPREAD / proxy.d_model**0.5
            for weights in self.parameters():
                if weights.dim() > 1:
                    nn.init.normal_(weights, std=spread)
            for block in self.blocks:
                for last in (block.out, block.down):
                    nn.init.normal_(last.weight, std=spread / (2 * proxy.layers) ** 0.5)

        def forward(self, numbers: Any, wanted: Any) -> Any:  # noqa: ANN401
            """The loss in nats of each wanted token; 0 where it is IGNORED."""
            x = self.tokens(numbers) + self.positions(torch.arange(numbers.shape[1], device=numbers.device))
            for block in self.blocks:
                x = block(x)
            logits = nn.functional.linear(self.norm(x), self.tokens.weight).float()
            lost = nn.functional.cross_entropy(
                logits.flatten(0, 1), wanted.flatten(), reduction="none", ignore_index=IGNORED
            )
            return lost.view(wanted.shape)

    return Decoder()


def _stream(texts: Encoded, end: int) -> npt.NDArray[np.int64]:
    """All texts, each between the ends of texts."""
    out = np.full(len(texts.numbers) + len(texts) + 1, end, np.int64)
    out[np.arange(len(texts.numbers)) + np.repeat(np.arange(len(texts)) + 1, texts.n_tokens)] = texts.numbers
    return out


def _train(
    model: Any, stream: npt.NDArray[np.int64], proxy: TransformerProxy, steps: int, seed: int, device: str  # noqa: ANN401
) -> None:  # fmt: skip
    """AdamW with a warm-up and a cosine."""
    import torch

    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=proxy.learning_rate, betas=BETAS)
    size = min(proxy.context, len(stream) - 1)
    data = torch.from_numpy(stream)
    model.train()
    for step, starts in enumerate(window_starts(len(stream), proxy.context, proxy.batch, steps, seed)):
        for group in optimizer.param_groups:
            group["lr"] = proxy.learning_rate * rate(step, steps)
        places = torch.from_numpy(starts[:, None] + np.arange(size + 1))
        window = data[places].to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(window[:, :-1], window[:, 1:]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
        optimizer.step()


def _asked(
    model: Any, texts: Encoded, end: int, context: int, device: str  # noqa: ANN401
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Bits of each text, window by window; a window's second half is foretold from its first."""
    import torch

    bits = np.zeros(len(texts))
    model.eval()
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        for owners, numbers, wanted in _questions(texts, end, context):
            lost = model(torch.from_numpy(numbers).to(device), torch.from_numpy(wanted).to(device))
            np.add.at(bits, owners, lost.double().sum(1).cpu().numpy() / BITS)
    return bits


def _questions(
    texts: Encoded, end: int, context: int
) -> Iterator[tuple[Integers, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Windows of texts with the number of their text and the tokens that are wanted, each token once."""
    stream = _stream(texts, end)
    begins = texts.bounds[:-1] + np.arange(len(texts))
    half = context // 2
    windows = [
        (k, int(begin) + start, min(context, size - start), 0 if start == 0 else context - half)
        for k, (begin, size) in enumerate(zip(begins, (texts.n_tokens + 1).tolist(), strict=True))
        for start in range(0, max(1, size - context + half), half)
    ]
    windows.sort(key=lambda window: (window[2], window[1]))
    rows = max(1, ASKED_TOKENS // context)
    for some in (windows[k : k + rows] for k in range(0, len(windows), rows)):
        longest = some[-1][2]
        numbers = np.full((len(some), longest), end, np.int64)
        wanted = np.full((len(some), longest), IGNORED, np.int64)
        for row, (_, start, size, known) in enumerate(some):
            numbers[row, :size] = stream[start : start + size]
            wanted[row, known:size] = stream[start + known + 1 : start + size + 1]
        yield np.array([window[0] for window in some]), numbers, wanted
