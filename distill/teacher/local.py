"""Run a model in this process with torch and transformers.

Questions of similar length form a batch, padded on the left. Each request has its own random generator, so only
rounding makes a reply depend on the rest of its batch.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.distill.teacher.encoding import Encoder
from curate.distill.teacher.protocol import Answer, ModelFacts, OnAnswer, Question, Reply, Score
from curate.distill.teacher.weights import adapter_contents, model_facts
from curate.errors import RecipeError, TeacherError, shortened
from curate.progress import Log
from curate.recipe.teacher import LocalModel

FIELD = "teacher.transformers"


@dataclass
class TransformersModel:
    """A `Model`: a loaded network with its tokenizer."""

    model: str
    facts: ModelFacts
    section: LocalModel
    encoder: Encoder
    network: Any
    name: str = "transformers"

    def answer(self, questions: Sequence[Question], on_answer: OnAnswer) -> None:
        """Answer batch by batch, longest questions first, so that lack of memory shows at once."""
        import torch

        prompts = self.encoder.prompts(questions, on_answer)
        with torch.inference_mode():
            for batch in self._batches(questions, {k: _size(questions[k], tokens) for k, tokens in prompts.items()}):
                self._switch_adapter(questions[batch[0]].adapter)
                answers = self._answers([questions[k] for k in batch], [prompts[k] for k in batch])
                for k, answer in zip(batch, answers, strict=True):
                    on_answer(k, answer)

    def _batches(self, questions: Sequence[Question], sizes: Mapping[int, int]) -> Iterator[list[int]]:
        """Batches of questions with the same adapter and similar length, of at most `batch_tokens` after padding."""
        batch: list[int] = []
        for k in sorted(sizes, key=lambda k: (questions[k].adapter or "", -sizes[k], k)):
            rows = (len(batch) + 1) * (self.encoder.labels(questions[k]).n_inputs() if questions[k].labels else 1)
            if batch and (
                questions[k].adapter != questions[batch[0]].adapter
                or rows * sizes[batch[0]] > self.section.batch_tokens
            ):
                yield batch
                batch = []
            batch.append(k)
        if batch:
            yield batch

    def _switch_adapter(self, adapter: str | None) -> None:
        """Switch to an adapter, or to the base model.

        Errors: RecipeError for an adapter that the recipe does not name.
        """
        check_adapter(adapter, self.section.lora, FIELD)
        if adapter is not None:
            self.network.base_model.enable_adapter_layers()
            self.network.set_adapter(adapter)
        elif self.section.lora:
            self.network.base_model.disable_adapter_layers()

    def _answers(self, questions: list[Question], prompts: list[list[int]]) -> list[Answer]:
        from curate.distill.teacher.decoding import generate, sequence_logs

        if questions[0].method == "generate":
            sampling = [question.sampling for question in questions if question.sampling is not None]
            replies = generate(self.network, self.encoder.tokenizer, prompts, sampling)
            return [
                Reply(self.encoder.tokenizer.decode(tokens, skip_special_tokens=True), reason, len(prompt), len(tokens))
                for (tokens, reason), prompt in zip(replies, prompts, strict=True)
            ]
        if questions[0].method == "score":
            logs = sequence_logs(self.network, prompts, [len(prompt) - 1 for prompt in prompts])
            return [Score(float(sum(token_logs)), len(token_logs)) for token_logs in logs]
        labels = [self.encoder.labels(question) for question in questions]
        rows = [row for prompt, item in zip(prompts, labels, strict=True) for row in item.appended_to(prompt)]
        label_logs = iter(sequence_logs(self.network, rows, [n for item in labels for n in item.lengths()]))
        return [item.choice([sum(next(label_logs)) for _ in item.tokens]) for item in labels]


def _size(question: Question, prompt: list[int]) -> int:
    """Tokens of a prompt and its reply."""
    return len(prompt) + (question.sampling.max_tokens if question.sampling else 0)


def open_local_model(section: LocalModel, log: Log) -> TransformersModel:
    """Load a model and its adapters.

    Errors: TeacherError where a library is missing, RecipeError where the model cannot be loaded.
    """
    if section.lora:
        require_modules(FIELD, "lora", "torch", "transformers", "peft")
    require_modules(FIELD, "transformers", "torch", "transformers")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    log.say(f"teacher: loading {section.model}")
    model_facts(section.model, section.revision, f"{FIELD}.model")  # check the path first, for a readable error
    adapters = adapter_contents(section.lora, FIELD)
    path = str(Path(section.model).expanduser())
    logging.disable_progress_bar()  # a run has its own progress lines, and may be quiet
    device = section.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=section.revision)
        network = AutoModelForCausalLM.from_pretrained(path, revision=section.revision, dtype=section.dtype)
        network = network.to(device)
    except (OSError, ValueError, RuntimeError) as error:
        problem = shortened(" ".join(str(error).split()))
        raise RecipeError(f"{FIELD}.model: {section.model}: cannot be loaded: {problem}") from None
    facts = ModelFacts(kind="transformers", dtype=str(network.dtype).removeprefix("torch."), adapters=adapters)
    facts |= model_facts(section.model, section.revision, f"{FIELD}.model")
    limit = section.max_model_len or int(getattr(network.config, "max_position_embeddings", 0)) or 2**31
    network = _with_adapters(network, section.lora).eval()
    return TransformersModel(section.model, facts, section, Encoder(tokenizer, section.model, limit), network)


def require_modules(field: str, extra: str, *modules: str) -> None:
    """Check that modules are installed.

    Errors: TeacherError that names the field which needs them and the extra to install.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise TeacherError(f"{field}: {missing[0]} is not installed; pip install 'curate-lm[{extra}]'")


def check_adapter(adapter: str | None, lora: Mapping[str, str], field: str) -> None:
    """Check that the recipe names an adapter.

    Errors: RecipeError.
    """
    if adapter is not None and adapter not in lora:
        raise RecipeError(f"{field}.lora: has no adapter {adapter!r}; add it, with the folder it lies in")


def _with_adapters(network: Any, lora: Mapping[str, str]) -> Any:  # noqa: ANN401 - torch's
    """Load all adapters into the model."""
    if not lora:
        return network
    from peft import PeftModel

    (first, folder), *remaining = lora.items()
    try:
        network = PeftModel.from_pretrained(network, folder, adapter_name=first)
        for name, folder in remaining:
            network.load_adapter(folder, adapter_name=name)
    except (OSError, ValueError, RuntimeError) as error:
        problem = shortened(" ".join(str(error).split()))
        raise RecipeError(f"{FIELD}.lora: {folder}: does not fit the model: {problem}") from None
    return network
