"""Run a model in this process with vLLM's engine, without a server."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.distill.teacher.encoding import Encoder
from curate.distill.teacher.labels import Labels
from curate.distill.teacher.local import check_adapter
from curate.distill.teacher.openai_api import MAX_LABEL_TOKENS, SEEDS
from curate.distill.teacher.protocol import Answer, ModelFacts, OnAnswer, Question, Reply, Sampling, Score
from curate.distill.teacher.vllm.serve import cannot_chunk_prefill, require_vllm
from curate.distill.teacher.weights import adapter_contents, max_lora_rank, model_facts
from curate.errors import RecipeError, shortened
from curate.progress import Log
from curate.recipe.teacher import EngineModel

FIELD = "teacher.vllm_engine"
GRACE_SECONDS = 30.0
BATCH_SIZE = 512  # questions passed to the engine together; answers are saved after each batch


@dataclass
class VllmModel:
    """A `Model`: vLLM's engine with its tokenizer."""

    model: str
    facts: ModelFacts
    section: EngineModel
    encoder: Encoder
    engine: Any
    name: str = "vllm_engine"

    def answer(self, questions: Sequence[Question], on_answer: OnAnswer) -> None:
        """Answer batch by batch."""
        prompts = self.encoder.prompts(questions, on_answer)
        for batch in self._batches(questions, list(prompts)):
            answers = self._answers([questions[k] for k in batch], [prompts[k] for k in batch])
            for k, answer in zip(batch, answers, strict=True):
                on_answer(k, answer)

    def _batches(self, questions: Sequence[Question], positions: list[int]) -> Iterator[list[int]]:
        """Positions of the questions in each batch, sorted by adapter."""
        positions.sort(key=lambda k: (questions[k].adapter or "", k))
        for start in range(0, len(positions), BATCH_SIZE):
            yield positions[start : start + BATCH_SIZE]

    def _answers(self, questions: list[Question], prompts: list[list[int]]) -> list[Answer]:
        import vllm

        if questions[0].method == "generate":
            sampling = [_parameters(question.sampling) for question in questions if question.sampling is not None]
            outputs = [output.outputs[0] for output in self._run(questions, prompts, sampling)]
            return [
                Reply(item.text, str(item.finish_reason), len(prompt), len(item.token_ids))
                for item, prompt in zip(outputs, prompts, strict=True)
            ]
        labels = [self.encoder.labels(question) for question in questions if question.labels]
        label_tokens = [item.single_tokens() for item in labels]
        if labels and all(0 < len(tokens) <= MAX_LABEL_TOKENS for tokens in label_tokens):
            sampling = [vllm.SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=ids) for ids in label_tokens]
            return [
                item.choice([output.outputs[0].logprobs[0][token].logprob for token in tokens])
                for output, item, tokens in zip(
                    self._run(questions, prompts, sampling), labels, label_tokens, strict=True
                )
            ]
        if labels:
            return self._scored_labels(questions, prompts, labels)
        logs = self._prompt_logs(questions, prompts)
        return [Score(float(sum(item)), len(item)) for item in logs]

    def _scored_labels(self, questions: list[Question], prompts: list[list[int]], labels: list[Labels]) -> list[Answer]:
        """Compute the labels' probabilities by scoring each label after its prompt."""
        items = list(zip(questions, prompts, labels, strict=True))
        rows = [row for _, prompt, item in items for row in item.appended_to(prompt)]
        row_questions = [question for question, _, item in items for _ in item.tokens]
        logs = iter(self._prompt_logs(row_questions, rows))
        return [item.choice([sum(next(logs)[-n:]) for n in item.lengths()]) for item in labels]

    def _prompt_logs(self, questions: list[Question], rows: list[list[int]]) -> list[list[float]]:
        """The log-probabilities of each row's tokens except the first; with LoRA one by one, as for servers."""
        import vllm

        size = 1 if self.section.lora else len(rows)
        result: list[list[float]] = []
        sampling = vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
        for start in range(0, len(rows), size):
            rows_of_batch = slice(start, start + size)
            outputs = self._run(questions[rows_of_batch], rows[rows_of_batch], [sampling] * len(rows[rows_of_batch]))
            for output, row in zip(outputs, rows[rows_of_batch], strict=True):
                tokens_with_logs = zip(row[1:], output.prompt_logprobs[1:], strict=True)
                result.append([float(logs[token].logprob) for token, logs in tokens_with_logs])
        return result

    def _run(self, questions: list[Question], prompts: list[list[int]], sampling: Sequence[Any]) -> list[Any]:
        """Run the engine on prompts."""
        from vllm.lora.request import LoRARequest

        adapters = []
        for question in questions:
            check_adapter(question.adapter, self.section.lora, FIELD)
            name = question.adapter
            number = 1 + list(self.section.lora).index(name) if name else 0
            adapters.append(LoRARequest(name, number, self.section.lora[name]) if name else None)
        inputs = [{"prompt_token_ids": prompt} for prompt in prompts]
        lora = adapters if self.section.lora else None
        return list(self.engine.generate(inputs, list(sampling), lora_request=lora, use_tqdm=False))


def _parameters(sampling: Sampling) -> Any:  # noqa: ANN401 - vLLM's
    """Sampling parameters as vLLM's."""
    import vllm

    return vllm.SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed % SEEDS,
        structured_outputs=_structured_outputs(sampling),
    )


def _structured_outputs(sampling: Sampling) -> Any:  # noqa: ANN401 - vLLM's
    """The constraint on a reply as vLLM's; None where there is none."""
    from vllm.sampling_params import StructuredOutputsParams

    if sampling.choices is not None:
        return StructuredOutputsParams(choice=list(sampling.choices))
    if sampling.regex is not None:
        return StructuredOutputsParams(regex=sampling.regex)
    if sampling.schema is not None:
        return StructuredOutputsParams(json=json.loads(sampling.schema))
    return None


def _engine_options(section: EngineModel) -> dict[str, bool | int]:
    """Options of the engine that depend on adapters and on vLLM's build."""
    options: dict[str, bool | int] = {}
    if section.lora:
        options |= {"enable_lora": True, "max_lora_rank": max_lora_rank(section.lora)}
    if cannot_chunk_prefill():
        options["enable_chunked_prefill"] = False
    return options


@contextmanager
def open_engine(section: EngineModel, log: Log) -> Iterator[VllmModel]:
    """Load a model and its adapters; on exit, stop the processes and threads of the engine.

    vLLM would stop them when Python exits. Python may then abort, as it cannot unwind a thread that is in C++ code.

    Errors: TeacherError where vLLM is missing, RecipeError where the model cannot be loaded.
    """
    require_vllm(FIELD)
    facts = ModelFacts(kind="vllm_engine", dtype=section.dtype, quantization=section.quantization)
    facts |= model_facts(section.model, section.revision, f"{FIELD}.model")
    facts["adapters"] = adapter_contents(section.lora, FIELD)
    log.say(f"teacher: loading {section.model}")
    import vllm

    threads_before = set(threading.enumerate())
    try:
        engine = vllm.LLM(
            model=str(Path(section.model).expanduser()),
            revision=section.revision,
            dtype=section.dtype,
            quantization=section.quantization,
            tensor_parallel_size=section.tensor_parallel,
            max_model_len=section.max_model_len,
            **_engine_options(section),
        )
    except (OSError, ValueError, RuntimeError) as error:
        problem = shortened(" ".join(str(error).split()))
        raise RecipeError(f"{FIELD}.model: {section.model}: cannot be loaded: {problem}") from None
    engine_threads = set(threading.enumerate()) - threads_before
    try:
        limit = int(engine.llm_engine.model_config.max_model_len)
        yield VllmModel(section.model, facts, section, Encoder(engine.get_tokenizer(), section.model, limit), engine)
    finally:
        engine.llm_engine.engine_core.shutdown()
        for thread in engine_threads:
            thread.join(GRACE_SECONDS)
