"""Open the teacher of a recipe: in this process, on an engine, or behind servers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curate.distill.teacher.protocol import Choice, Model, ModelFacts, OpenModel, Reply, Request, Score, Teacher
from curate.errors import RecipeError
from curate.progress import Log
from curate.recipe.teacher import Teacher as Section


@dataclass(frozen=True)
class NoModel:
    """The teacher of a recipe without a language model; it refuses all requests."""

    name: str = "rules"
    model: str = ""

    @property
    def facts(self) -> ModelFacts:
        """Only the kind of teacher."""
        return {"kind": self.name}

    @property
    def counts(self) -> Mapping[str, int]:
        """No counts, as there are no requests."""
        return {}

    def generate(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Refuse."""
        raise _no_model("write replies")

    def score(self, texts: Sequence[str], adapter: str | None = None) -> list[Score | None]:
        """Refuse."""
        raise _no_model("score text")

    def choose(self, requests: Sequence[Request], labels: Sequence[str]) -> list[Choice | None]:
        """Refuse."""
        raise _no_model("choose between labels")


def _no_model(task: str) -> RecipeError:
    return RecipeError(
        f"teacher: rules has no language model to {task} with; set teacher to {{transformers: MODEL}}, which runs it "
        "here, or to {vllm: {urls: [URL]}}"
    )


def check_teacher(section: Literal["rules"] | Section) -> None:
    """Check libraries and folders that a teacher needs, without loading a model or contacting a server.

    Errors: TeacherError for a missing library, RecipeError for a folder without a model.
    """
    from curate.distill.teacher.local import require_modules
    from curate.distill.teacher.vllm.serve import require_vllm
    from curate.distill.teacher.weights import check_adapters, find_model

    if section == "rules":
        return
    if local := section.transformers:
        require_modules("teacher.transformers", "transformers", "torch", "transformers")
        find_model(local.model, local.revision, "teacher.transformers.model")
    elif engine := section.vllm_engine:
        require_vllm("teacher.vllm_engine")
        find_model(engine.model, engine.revision, "teacher.vllm_engine.model")
    elif section.vllm and section.vllm.serve:
        require_vllm("teacher.vllm.serve")
        find_model(section.vllm.serve, section.vllm.revision, "teacher.vllm.serve")
    for kind in ("transformers", "vllm_engine", "vllm"):
        check_adapters(getattr(getattr(section, kind), "lora", {}), f"teacher.{kind}")


@contextmanager
def open_teacher(
    section: Literal["rules"] | Section, cache_folder: Path, log: Log, models: OpenModel | None = None
) -> Iterator[Teacher]:
    """Open the teacher of a recipe, with its request cache in `cache_folder`; on exit, stop what it started.

    `models` opens its model; an engine passes one of its methods, and the default is `open_model`.

    Errors: TeacherError where no server answers or a library is missing, RecipeError where the model is not available.
    """
    if section == "rules":
        yield NoModel()
        return
    from curate.distill.teacher.cached import CachedTeacher
    from curate.distill.teacher.request_cache import open_cache

    with (models or open_model)(section, cache_folder, log) as model, open_cache(cache_folder) as cache:
        yield CachedTeacher(model, cache, log)


@contextmanager
def open_model(section: Section, folder: Path, log: Log) -> Iterator[Model]:
    """Open the model that a section names, in this process. The log of a server goes to `folder`."""
    if section.transformers is not None:
        from curate.distill.teacher.local import open_local_model

        yield open_local_model(section.transformers, log)
    elif section.vllm_engine is not None:
        from curate.distill.teacher.vllm.engine import open_engine

        with open_engine(section.vllm_engine, log) as engine:
            yield engine
    elif section.vllm is not None and section.vllm.serve is not None:
        from curate.distill.teacher.vllm.serve import open_served_model

        with open_served_model(section.vllm, folder / "server.log", log) as model:
            yield model
    elif section.vllm is not None:
        from curate.distill.teacher.vllm.connect import connect

        yield connect(section.vllm, log)
