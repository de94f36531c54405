"""Language models in actors of a Ray cluster: the answers are those of the driver, whoever dies.

The nodes say that they have GPUs, which is all that Ray asks; the models find none and run on the processor.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.language_models import tiny_llama

from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Request, Sampling
from curate.engine.ray_cluster import Nodes
from curate.engine.ray_models import LOT
from curate.errors import RecipeError, TeacherError
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher as Section

pytestmark = pytest.mark.llm
ray = pytest.importorskip("ray", reason="needs ray: pip install 'curate-lm[ray]'")

TEXTS = [f"The {noun} of the town was number {k}." for k in range(150) for noun in ("mill", "school", "bridge", "inn")]


@pytest.fixture(scope="module")
def engine():
    """The driver of a cluster whose two nodes have a GPU each, as far as Ray knows."""
    from ray.cluster_utils import Cluster

    with TemporaryDirectory(prefix="curate-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        node = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 80 << 20}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.add_node(**node)
        with Nodes(cluster.address) as opened:
            yield opened
        cluster.shutdown()


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_llama(folder)
    return Section.model_validate({"transformers": {"model": str(folder), "dtype": "float32"}})


def opened(section, folder, models=None):
    return open_teacher(section, folder, unwritten_log(quiet=True), models)


def until_both_are_there(teacher):
    """Ask until the second actor has loaded its model."""
    deadline = time.monotonic() + 120
    while len(teacher.source.actors) < 2:
        assert time.monotonic() < deadline
        teacher.score([f"Asked at {time.monotonic()}."])


def holders():
    """The processes of the actors."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if (path / "cmdline").read_bytes().startswith(b"ray::ModelActor"):
                found.append(int(path.name))
    return found


def test_answers_are_those_of_the_driver_and_come_from_every_gpu(engine, section, tmp_path):
    asked = [Request((("user", text),), Sampling(max_tokens=4, temperature=0)) for text in TEXTS[:8]]
    with opened(section, tmp_path / "here") as teacher:
        here = teacher.score(TEXTS), teacher.generate(asked), dict(teacher.facts)
    with opened(section, tmp_path / "there", engine.open_model) as teacher:
        until_both_are_there(teacher)
        assert len(TEXTS) > 2 * LOT
        there = teacher.score(TEXTS), teacher.generate(asked), dict(teacher.facts)
    assert [one.n_tokens for one in there[0]] == [one.n_tokens for one in here[0]]
    assert [one.log_probability for one in there[0]] == pytest.approx(
        [one.log_probability for one in here[0]], rel=1e-5
    )
    assert there[1:] == here[1:]
    deadline = time.monotonic() + 30
    while holders():  # Ray ends them behind us
        assert time.monotonic() < deadline


def test_of_two_actors_one_may_die_and_then_the_other(engine, section, tmp_path):
    with opened(section, tmp_path / "calm", engine.open_model) as teacher:
        wanted = teacher.score(TEXTS)
    with opened(section, tmp_path / "there", engine.open_model) as teacher:
        until_both_are_there(teacher)
        os.kill(holders()[0], signal.SIGKILL)
        assert teacher.score(TEXTS) == wanted
        assert len(teacher.source.actors) == 1
        os.kill(holders()[0], signal.SIGKILL)
        with pytest.raises(TeacherError, match=r"have died.*run the same command to go on$"):
            teacher.score(["Nobody is left."])
        assert teacher.score(TEXTS) == wanted  # which is kept


def test_a_model_that_cannot_be_loaded_is_told_as_in_the_driver(engine, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    broken = Section.model_validate({"transformers": str(tmp_path / "broken")})
    told = []
    for models in (None, engine.open_model):
        with pytest.raises(RecipeError, match=r"^teacher\.transformers") as error, opened(broken, tmp_path, models):
            pass
        told.append(str(error.value))
    assert told[0] == told[1]


def test_without_a_gpu_that_the_model_asks_for_it_runs_in_the_driver(engine, section, tmp_path):
    alone = section.transformers.model_copy(update={"device": "cpu"})
    with opened(section.model_copy(update={"transformers": alone}), tmp_path, engine.open_model) as teacher:
        assert teacher.score(TEXTS[:2])
        assert holders() == []
