"""Teachers behind servers: order, bounds, retries, the circuit breaker, refusals; structured replies; the recipe."""

import threading
import time

import pytest
from support.stand_in import StandIn, reply_to, requests_for, running, texts_of

from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Reply, Request, Sampling, Score
from curate.distill.teacher.structured import ask_structured
from curate.errors import RecipeError, TeacherError
from curate.progress import unwritten_log
from curate.recipe.load import parse_recipe

ERROR = {"error": {"message": "too busy", "code": 503}}


def test_replies_come_in_the_order_of_the_requests_with_a_bounded_number_under_way(teach):
    server = StandIn()
    server.seconds = 0.02
    teacher = teach(server, concurrency=8)
    names = [f"p{k}" for k in range(60)]
    replies = teacher.generate(requests_for(names, seed=4))
    assert replies == [Reply(f"reply to {name} by tiny with 4", "stop", 3, 5) for name in names]
    assert server.busiest == 8
    assert teacher.counts == {
        "questions": 60, "from_cache": 0, "answered": 60, "prompt_tokens": 180, "tokens": 300
    }  # fmt: skip


def test_plain_prompts_adapters_and_limits_are_passed_on(teach):
    server = StandIn()
    limits = [{"choices": ("a", "b")}, {"regex": "[0-9]+"}, {"schema": '{"type":"object"}'}, {}]
    asked = [Request("once", Sampling(9, temperature=0.5, top_p=0.9, seed=3, **one), "finance") for one in limits]
    teach(server, concurrency=1).generate(asked)
    common = {"model": "finance", "prompt": "once", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3}
    common |= {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    forms = [{"choice": ["a", "b"]}, {"regex": "[0-9]+"}, {"json": {"type": "object"}}]
    expected = [{**common, "structured_outputs": form} for form in forms] + [common]
    assert server.bodies == [("/v1/completions", body) for body in expected]


def test_a_reply_has_one_limit():
    with pytest.raises(ValueError, match="one of choices, regex and schema"):
        Sampling(1, choices=("a",), regex="b")


def test_a_server_with_adapters_scores_one_text_while_it_does_nothing_else(teach):
    server = StandIn(models=["tiny", "finance"])
    server.parents["finance"] = "tiny"
    server.seconds = 0.01
    teacher = teach(server, concurrency=8)
    assert teacher.facts["adapters"] == {"finance": "finance"}
    assert teacher.score([f"text {k}" for k in range(12)]) == [Score(-3.75, 2)] * 12
    assert server.busiest == 1
    server.seconds = 0.5  # so that all are under way on a busy machine too
    teacher.generate(requests_for([f"p{k}" for k in range(12)]))
    assert server.busiest == 8


def test_scores_are_the_sum_of_what_the_server_tells_and_an_empty_text_is_not_asked_about(teach):
    server = StandIn()
    assert teach(server).score(["a text", "", "a text"]) == [Score(-3.75, 2), Score(0.0, 0), Score(-3.75, 2)]
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "failure",
    [(503, {}, ERROR), (429, {"retry-after": "0"}, ERROR), (500, {}, b""), (408, {}, ERROR), (200, {}, b"<html>"),
     (200, {}, {"choices": []}), (200, {}, [])],
    ids=["503", "429", "500", "408", "no JSON", "no choices", "a list"],
)  # fmt: skip
def test_a_failure_that_may_pass_is_tried_again(teach, failure):
    server = StandIn(lambda n, body: failure if n <= 3 else None)
    assert texts_of(teach(server, concurrency=4).generate(requests_for(["a", "b"]))) == [
        "reply to a by tiny with 0",
        "reply to b by tiny with 0",
    ]


def test_a_server_that_asks_for_time_is_given_it(teach):
    server = StandIn(lambda n, body: (429, {"retry-after": "1"}, ERROR) if n == 1 else None)
    began = time.monotonic()
    teach(server).generate(requests_for(["a"]))
    assert time.monotonic() - began >= 1


def test_a_slow_answer_is_given_up_and_asked_for_again(teach):
    def slow_once(n, body):
        if n == 1:
            time.sleep(1.0)

    teacher = teach(StandIn(slow_once), timeout_seconds=0.2)
    assert texts_of(teacher.generate(requests_for(["a"]))) == ["reply to a by tiny with 0"]


def test_one_question_that_always_fails_is_left_out_and_the_others_are_answered(teach, capsys):
    server = StandIn(lambda n, body: (500, {}, ERROR) if body["messages"][0]["content"] == "poison" else None)
    teacher = teach(server, retries=2, concurrency=2)
    names = ["poison", *(f"p{k}" for k in range(30))]
    server.seconds = 0.01
    replies = teacher.generate(requests_for(names))
    assert replies[0] is None
    assert None not in replies[1:]
    assert "teacher: refused 1 of 31 questions, the first: given up after 3 tries" in capsys.readouterr().err


def test_a_refused_question_is_told_once_not_tried_again_and_not_kept(teach, capsys):
    message = "prompt has 2000 tokens, the model takes 1024"
    refusal = (400, {}, {"error": {"message": message}})
    server = StandIn(lambda n, body: refusal if "long" in body["messages"][0]["content"] else None)
    teacher = teach(server)
    assert [reply is None for reply in teacher.generate(requests_for(["a", "long 1", "b", "long 2"]))] == [
        False, True, False, True,
    ]  # fmt: skip
    assert len(server.bodies) == 4
    assert capsys.readouterr().err == f"teacher: refused 2 of 4 questions, the first: 400: {message}\n"
    server.behave = lambda n, body: None
    assert texts_of(teacher.generate(requests_for(["long 1"]))) == ["reply to long 1 by tiny with 0"]


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "404: no such model"), (401, "401: no such model; name the key's variable in teacher.vllm.api_key_env")],
)
def test_what_every_question_would_meet_ends_the_work_with_one_line(teach, status, said):
    server = StandIn(lambda n, body: (status, {}, {"error": {"message": "no such model"}}))
    with pytest.raises(TeacherError) as told:
        teach(server, concurrency=1).generate(requests_for(["a", "b", "c"]))
    assert len(server.bodies) == 1
    assert str(told.value).endswith(said)


def test_a_server_that_refuses_everything_ends_the_work(teach):
    server = StandIn(lambda n, body: (400, {}, {"error": {"message": "no chat template"}}))
    with pytest.raises(TeacherError, match="refuses every question: 400: no chat template"):
        teach(server).generate(requests_for([f"p{k}" for k in range(500)]))
    assert len(server.bodies) < 300


def test_a_dead_server_ends_the_work_with_one_line_and_a_later_run_asks_only_for_the_rest(teach):
    server = StandIn()
    names = [f"p{k}" for k in range(40)]
    with running(server) as url:
        port = int(url.rpartition(":")[2])
        teacher = teach(url, retries=2, concurrency=4)
        server.behave = lambda n, body: (503, {}, ERROR) if n > 20 else None
        with pytest.raises(TeacherError) as told:
            teacher.generate(requests_for(names))
    assert str(told.value) == (
        f"teacher: the server does not answer, 3 times in a row: {url} (503: too busy); start it and run the same "
        "command again: what was answered is kept"
    )
    assert sum(server.prompts.values()) == 20
    server.behave = lambda n, body: None
    with running(server, port):
        assert None not in teach(url).generate(requests_for(names))
    assert dict(server.prompts) == dict.fromkeys(names, 1)


def test_of_two_servers_the_living_one_takes_over_and_the_other_is_used_again_when_it_is_back(teach):
    one, two = StandIn(), StandIn()
    one.seconds = two.seconds = 0.01
    one.behave = lambda n, body: (503, {}, ERROR) if 10 <= n < 16 else None
    teacher = teach(one, two, concurrency=4)
    assert None not in teacher.generate(requests_for([f"p{k}" for k in range(200)]))
    assert sum(one.prompts.values()) + sum(two.prompts.values()) == 200
    assert sum(one.prompts.values()) > 40
    assert sum(two.prompts.values()) > 40


def test_a_server_that_is_down_at_the_start_is_told_and_the_other_does_the_work(teach, capsys):
    dead = "http://127.0.0.1:9"
    server = StandIn()
    assert None not in teach(dead, server).generate(requests_for(["a", "b"]))
    assert capsys.readouterr().err.startswith(f"teacher: {dead} does not answer: ")


def test_no_server_at_the_start_is_one_line(teach):
    with pytest.raises(
        TeacherError, match=r"no server answers \(http://127\.0\.0\.1:9: .*start one with `curate serve"
    ):
        teach("http://127.0.0.1:9")


def test_the_model_is_found_or_told(teach):
    with pytest.raises(RecipeError, match=r"teacher\.vllm\.model: 'tini' is not served; did you mean 'tiny'\?"):
        teach(StandIn(), model="tini")
    with pytest.raises(RecipeError, match=r"teacher\.vllm\.model: name one of a, b"):
        teach(StandIn(models=["a", "b"]))
    assert teach(StandIn(models=["a", "b"]), model="b").facts == {
        "kind": "vllm", "model": "b", "root": "b", "revision": None, "adapters": {}
    }  # fmt: skip


def test_a_key_comes_from_the_environment(teach, monkeypatch):
    with pytest.raises(RecipeError, match="the environment has no variable 'CURATE_TEST_KEY'"):
        teach(StandIn(), api_key_env="CURATE_TEST_KEY")
    monkeypatch.setenv("CURATE_TEST_KEY", "secret")
    teacher = teach(StandIn(), api_key_env="CURATE_TEST_KEY")
    assert "secret" not in repr(teacher)
    assert texts_of(teacher.generate(requests_for(["a"]))) == ["reply to a by tiny with 0"]


def number(k, text):
    return int(text)


def test_malformed_replies_are_asked_for_again_and_then_dropped(teach):
    seen = threading.Lock(), {}

    def behave(n, body):
        name = body["messages"][0]["content"]
        with seen[0]:
            tries = seen[1][name] = seen[1].get(name, 0) + 1
        text = "7" if name == "good" or (name == "late" and tries == 3) else "seven"
        return 200, {}, {**reply_to("", body), "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}

    server = StandIn(behave)
    teacher = teach(server)
    values, counts = ask_structured(teacher, requests_for(["good", "late", "never"]), number)
    assert values == [7, 7, None]
    assert counts == {"asked": 3, "malformed": 5, "refused": 0, "dropped": 1}
    drawn = [(b["seed"], b["temperature"]) for _, b in server.bodies if b["messages"][0]["content"] == "never"]
    assert drawn == [(0, 0.0), (1_000_003, 0.5), (2_000_006, 0.5)]
    assert ask_structured(teach(server), requests_for(["good", "late", "never"]), number) == (values, counts)
    assert len(server.bodies) == 7


def test_a_recipe_without_a_model_says_which_teacher_could(tmp_path):
    with open_teacher("rules", tmp_path, unwritten_log(quiet=True)) as teacher:
        for ask in (lambda: teacher.generate([]), lambda: teacher.score([]), lambda: teacher.choose([], ["a", "b"])):
            with pytest.raises(RecipeError, match=r"^teacher: rules has no language model to .*{transformers: MODEL}"):
                ask()


FIELDS = {"name": "web", "input": {"paths": ["data"]}}


def test_how_a_teacher_is_reached_is_no_part_of_the_recipes_digest():
    def digest(**fields):
        return parse_recipe({**FIELDS, "teacher": {"vllm": fields}}, "web.yaml").digest()

    one = digest(urls=["http://a:1"])
    assert one == digest(urls=["http://b:2"], concurrency=3, timeout_seconds=1, retries=0, api_key_env="KEY")
    assert one != digest(urls=["http://a:1"], model="other")
    assert digest(serve="m") == digest(serve="m", tensor_parallel=2)
    assert digest(serve="m") != digest(serve="m", quantization="fp8")


@pytest.mark.parametrize(
    ("teacher", "error"),
    [
        ("gpt", "teacher: is one of rules, {transformers: MODEL}"),
        ({}, "teacher: is one of rules, {transformers: MODEL}"),
        ({"transformers": "m", "vllm_engine": "m"}, "teacher: is one of rules"),
        ({"vlm": {}}, "teacher has no field 'vlm'; did you mean 'vllm'?"),
        ({"vllm": {}}, "teacher.vllm: has either `urls` of servers or `serve` with a model"),
        ({"vllm": {"urls": ["localhost:1"]}}, "teacher.vllm: 'localhost:1' is no URL; write it as http://"),
        ({"vllm": {"urls": ["http://a"], "dtype": "float32"}}, "teacher.vllm: `dtype` belongs to `serve`"),
        ({"transformers": {"dtype": "auto"}}, "teacher.transformers.model is missing"),
        ({"transformers": {"modell": "m"}}, "teacher.transformers has no field 'modell'; did you mean 'model'?"),
    ],
)
def test_a_teacher_that_is_written_wrong_is_told_in_one_line(teacher, error):
    with pytest.raises(RecipeError) as told:
        parse_recipe({**FIELDS, "teacher": teacher}, "web.yaml")
    assert f"web.yaml: {error}" in str(told.value)
