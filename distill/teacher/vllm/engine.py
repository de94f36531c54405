"""The teacher that this process runs with vLLM: no server, and no HTTP between the two."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.distill.teacher.encoding import Encoder
from curate.distill.teacher.labels import Labels
from curate.distill.teacher.local import check_adapter
from curate.distill.teacher.openai_api import MAX_LABEL_TOKENS, SEEDS
from curate.distill.teacher.protocol import Answer, Arrived, Question, Reply, Sampling, Score
from curate.distill.teacher.vllm.serve import need_vllm, reads_prompts_whole
from curate.distill.teacher.weights import adapter_contents, lora_rank, model_facts
from curate.errors import RecipeError, shortened
from curate.progress import Log
from curate.recipe.teacher import EngineModel

FIELD = "teacher.vllm_engine"
GRACE_SECONDS = 30.0
AT_ONCE = 512  # questions handed to the engine together; what is answered is kept after each such lot


@dataclass
class Engine:
    """The implementation: vLLM's engine with its tokenizer."""

    model: str
    facts: Mapping[str, Any]
    section: EngineModel
    encoder: Encoder
    engine: Any
    name: str = "vllm_engine"

    def answer(self, questions: Sequence[Question], arrived: Arrived) -> None:
        """Answer lot by lot."""
        prompts = self.encoder.prompts(questions, arrived)
        for lot in self._lots(questions, list(prompts)):
            answers = self._answered([questions[k] for k in lot], [prompts[k] for k in lot])
            for k, answer in zip(lot, answers, strict=True):
                arrived(k, answer)

    def _lots(self, questions: Sequence[Question], positions: list[int]) -> Iterator[list[int]]:
        """Questions that go to the engine together."""
        positions.sort(key=lambda k: (questions[k].adapter or "", k))
        for start in range(0, len(positions), AT_ONCE):
            yield positions[start : start + AT_ONCE]

    def _answered(self, questions: list[Question], prompts: list[list[int]]) -> list[Answer]:
        import vllm

        if questions[0].method == "generate":
            drawn = [_parameters(question.sampling) for question in questions if question.sampling is not None]
            outputs = [output.outputs[0] for output in self._run(questions, prompts, drawn)]
            return [
                Reply(found.text, str(found.finish_reason), len(prompt), len(found.token_ids))
                for found, prompt in zip(outputs, prompts, strict=True)
            ]
        labels = [self.encoder.labels(question) for question in questions if question.labels]
        wanted = [found.single() for found in labels]
        if labels and all(0 < len(tokens) <= MAX_LABEL_TOKENS for tokens in wanted):
            drawn = [vllm.SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=ids) for ids in wanted]
            return [
                found.choice([output.outputs[0].logprobs[0][token].logprob for token in tokens])
                for output, found, tokens in zip(self._run(questions, prompts, drawn), labels, wanted, strict=True)
            ]
        if labels:
            return self._scored_labels(questions, prompts, labels)
        logs = self._prompt_logs(questions, prompts)
        return [Score(float(sum(found)), len(found)) for found in logs]

    def _scored_labels(self, questions: list[Question], prompts: list[list[int]], labels: list[Labels]) -> list[Answer]:
        """The labels' probabilities, each scored behind its prompt."""
        each = list(zip(questions, prompts, labels, strict=True))
        rows = [row for _, prompt, found in each for row in found.behind(prompt)]
        owners = [question for question, _, found in each for _ in found.tokens]
        logs = iter(self._prompt_logs(owners, rows))
        return [found.choice([sum(next(logs)[-n:]) for n in found.lengths()]) for found in labels]

    def _prompt_logs(self, questions: list[Question], rows: list[list[int]]) -> list[list[float]]:
        """The logarithms of the tokens of each row but the first; with LoRA one by one, as servers get them too."""
        import vllm

        size = 1 if self.section.lora else len(rows)
        found: list[list[float]] = []
        drawn = vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
        for start in range(0, len(rows), size):
            some = slice(start, start + size)
            outputs = self._run(questions[some], rows[some], [drawn] * len(rows[some]))
            for output, row in zip(outputs, rows[some], strict=True):
                told = zip(row[1:], output.prompt_logprobs[1:], strict=True)
                found.append([float(logs[token].logprob) for token, logs in told])
        return found

    def _run(self, questions: list[Question], prompts: list[list[int]], drawn: Sequence[Any]) -> list[Any]:
        """Let the engine go through prompts."""
        from vllm.lora.request import LoRARequest

        adapters = []
        for question in questions:
            check_adapter(question.adapter, self.section.lora, FIELD)
            name = question.adapter
            number = 1 + list(self.section.lora).index(name) if name else 0
            adapters.append(LoRARequest(name, number, self.section.lora[name]) if name else None)
        inputs = [{"prompt_token_ids": prompt} for prompt in prompts]
        lora = adapters if self.section.lora else None
        return list(self.engine.generate(inputs, list(drawn), lora_request=lora, use_tqdm=False))


def _parameters(sampling: Sampling) -> Any:  # noqa: ANN401 - vLLM's
    """How a reply is drawn, in vLLM's words."""
    import vllm
    from vllm.sampling_params import StructuredOutputsParams

    limits: dict[str, Any] = {}
    if sampling.choices is not None:
        limits["choice"] = list(sampling.choices)
    elif sampling.regex is not None:
        limits["regex"] = sampling.regex
    elif sampling.schema is not None:
        limits["json"] = json.loads(sampling.schema)
    return vllm.SamplingParams(
        max_tokens=sampling.max_tokens, temperature=sampling.temperature, top_p=sampling.top_p,
        seed=sampling.seed % SEEDS,
        structured_outputs=StructuredOutputsParams(**limits) if limits else None,
    )  # fmt: skip


@contextmanager
def open_engine(section: EngineModel, log: Log) -> Iterator[Engine]:
    """Load a model and make its adapters ready; on leaving, the processes and threads of the engine are ended.

    vLLM itself ends them when Python does, and Python then may abort: a thread of vLLM's that is in C++ code at that
    moment cannot be unwound.

    Errors: TeacherError where vLLM is missing, RecipeError where the model cannot be loaded.
    """
    need_vllm(FIELD)
    facts: dict[str, Any] = {"kind": "vllm_engine", "dtype": section.dtype, "quantization": section.quantization}
    facts |= model_facts(section.model, section.revision, f"{FIELD}.model")
    facts["adapters"] = adapter_contents(section.lora, FIELD)
    log.say(f"teacher: loading {section.model}")
    import vllm

    before = set(threading.enumerate())
    options: dict[str, Any] = {"enable_lora": True, "max_lora_rank": lora_rank(section.lora)} if section.lora else {}
    options |= {"enable_chunked_prefill": False} if reads_prompts_whole() else {}
    try:
        engine = vllm.LLM(
            model=str(Path(section.model).expanduser()), revision=section.revision, dtype=section.dtype,
            quantization=section.quantization, tensor_parallel_size=section.tensor_parallel,
            max_model_len=section.max_model_len, **options,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        problem = shortened(" ".join(str(error).split()))
        raise RecipeError(f"{FIELD}.model: {section.model}: cannot be loaded: {problem}") from None
    theirs = set(threading.enumerate()) - before
    try:
        limit = int(engine.llm_engine.model_config.max_model_len)
        yield Engine(section.model, facts, section, Encoder(engine.get_tokenizer(), section.model, limit), engine)
    finally:
        engine.llm_engine.engine_core.shutdown()
        for thread in theirs:
            thread.join(GRACE_SECONDS)
