"""Language models on the GPUs of a Ray cluster: each actor loads one, and questions are dealt to them in lots.

The lots do not depend on the number of actors, so neither do the answers.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.distill.teacher.open import open_model
from curate.distill.teacher.protocol import Answer, Model, ModelFacts, OnAnswer, Question, Refusal
from curate.engine.base import TICK_SECONDS, prepare_remote_worker, result_of, run_task
from curate.errors import CurateError, TeacherError
from curate.progress import Log, unwritten_log
from curate.recipe.teacher import Teacher as Section

LOT = 256  # questions sent to an actor together; answers are saved after each lot
GRACE_SECONDS = 30.0
Answers = list[tuple[int, Answer | Refusal]]


def gpus_of(section: Section) -> int:
    """GPUs that a teacher's model takes; 0 if it runs elsewhere or on CPUs."""
    if section.vllm_engine:
        return section.vllm_engine.tensor_parallel
    return int(section.transformers is not None and not (section.transformers.device or "").startswith("cpu"))


class ModelActor:
    """An actor with a model, which it loads when its facts are requested."""

    def __init__(self, folder: str, section: Section, scratch: Path) -> None:
        prepare_remote_worker(folder)
        self.section, self.scratch = section, scratch
        self.opened = ExitStack()
        self.model: Model | None = None

    def facts(self) -> tuple[str, Any]:
        """The reply with the model's name, its kind and its facts."""
        return run_task(self._facts, None)

    def answer(self, questions: Sequence[Question]) -> tuple[str, Any]:
        """The reply with the answers to a lot, each with its position."""
        return run_task(self._answers, questions)

    def close(self) -> None:
        """Close the model and stop what it started."""
        self.opened.close()

    def _facts(self, _: object) -> tuple[str, str, ModelFacts]:
        opened = open_model(self.section, self.scratch, unwritten_log(True))
        self.model = self.opened.enter_context(opened)
        return self.model.name, self.model.model, self.model.facts

    def _answers(self, questions: Sequence[Question]) -> Answers:
        assert self.model is not None
        answers: Answers = []
        self.model.answer(questions, lambda position, answer: answers.append((position, answer)))
        return answers


@dataclass
class ModelPool:
    """A `Model` that consists of several actors with the same model; actors that die are dropped."""

    name: str
    model: str
    facts: ModelFacts
    actors: list[Any]  # whose model is loaded
    loading: dict[Any, Any]  # actors by the reference to their facts; some may wait for a GPU

    def answer(self, questions: Sequence[Question], on_answer: OnAnswer) -> None:
        """Send each lot to the next actor that is free.

        Errors: TeacherError where all actors have died; those of the model.
        """
        import ray

        order = sorted(range(len(questions)), key=lambda k: (questions[k].adapter or "", k))
        waiting = deque(order[start : start + LOT] for start in range(0, len(order), LOT))
        free = list(self.actors)
        submitted: dict[Any, tuple[Any, list[int]]] = {}
        while waiting or submitted:
            while free and waiting:
                actor, lot = free.pop(), waiting.popleft()
                submitted[actor.answer.remote([questions[k] for k in lot])] = actor, lot
            done, _ = ray.wait([*submitted, *self.loading], timeout=TICK_SECONDS)
            for reference in done:
                if reference in self.loading:
                    free += self._loaded(reference)
                    continue
                actor, lot = submitted.pop(reference)
                answers = _result(reference)
                if answers is None:
                    self.actors.remove(actor)
                    waiting.appendleft(lot)
                    continue
                for k, answer in answers:
                    on_answer(lot[k], answer)
                free.append(actor)
            if not (self.actors or self.loading):
                raise TeacherError(
                    "teacher: the processes that held the model on the cluster's GPUs have died, maybe for want of "
                    "memory; what was answered is kept: run the same command to go on"
                )

    def _loaded(self, reference: Any) -> list[Any]:  # noqa: ANN401 - Ray's
        """The actor whose facts have arrived, or nothing if it died.

        Errors: TeacherError where its model is another one; those of loading it.
        """
        actor = self.loading.pop(reference)
        facts = _result(reference)
        if facts is None:
            return []
        if facts != (self.name, self.model, self.facts):
            raise TeacherError(f"teacher: a node of the cluster has another {self.model} than the first; copy the same")
        self.actors.append(actor)
        return [actor]


def _result(reference: Any) -> Any:  # noqa: ANN401 - Ray's, and what the actor's method returns
    """The result of an actor's method; None if the actor died.

    Errors: those of its model.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        result: Any = result_of("teacher", *ray.get(reference))
    except RayTaskError:  # a bug of ours
        raise
    except RayError:  # the actor died; lack of memory is another class than other deaths
        return None
    if isinstance(result, CurateError):
        raise result
    return result


@contextmanager
def open_on_gpus(section: Section, count: int, scratch: Path, log: Log) -> Iterator[Model]:
    """Load a model in each of `count` actors, and yield it once the first is loaded; on exit, stop the actors.

    Errors: TeacherError where every actor dies while loading; those of loading it.
    """
    import ray

    device = section.transformers.device if section.transformers else None
    if device and ":" in device:
        raise TeacherError(
            f"teacher.transformers.device: {device} is a GPU of one machine, and --engine ray gives each model one; "
            f"set {device.split(':')[0]}"
        )
    each = gpus_of(section)
    actor_class: Any = ray.remote(ModelActor).options(num_gpus=each, num_cpus=0, max_restarts=0)
    actors: list[Any] = [actor_class.remote(os.getcwd(), section, scratch.absolute()) for _ in range(count)]
    log.say(f"teacher: loading the model on {count} × {each} GPUs of the cluster")
    loading = {actor.facts.remote(): actor for actor in actors}
    try:
        first: tuple[str, str, ModelFacts] | None = None
        while first is None and loading:
            for reference in ray.wait(list(loading), timeout=TICK_SECONDS)[0]:
                actor, first = loading.pop(reference), _result(reference)
        if first is None:
            raise TeacherError(
                "teacher: no process on the cluster's GPUs lived to load the model, maybe for want of memory; try a "
                "smaller one, or a lower max_model_len"
            )
        name, kind, facts = first
        pool = ModelPool(name, kind, facts, [actor], loading)
        yield pool
        closing = [actor.close.remote() for actor in pool.actors]
        ray.wait(closing, num_returns=len(closing), timeout=GRACE_SECONDS)
    finally:  # without grace where something failed or Ctrl-C was pressed
        for actor in actors:
            ray.kill(actor)
