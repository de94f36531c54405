"""Teachers with real models: what vLLM's server, its engine and transformers answer, and that they agree."""

import math
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import takewhile

import pytest
from support.corpora import PROSE
from support.language_models import random_adapter, smollm2, tiny_llama
from support.llm_server import ON_CPU
from support.teachers import LABELS, LIMITED, TO_CHOOSE, TO_SCORE, chat, check_limits, opened, successes

from curate.distill.teacher.prompts import load, render
from curate.distill.teacher.protocol import Request, Sampling
from curate.errors import RecipeError, TeacherError

pytestmark = pytest.mark.llm

NOUNS = ["sea", "bread", "iron", "music", "rain", "paper", "salt", "wood", "glass", "sleep"]


@pytest.fixture(scope="session", autouse=True)
def on_cpu():
    os.environ.update(ON_CPU)


def through(folder, *urls, **fields):
    return opened(folder, vllm={"urls": list(urls), **fields})


def test_many_requests_under_way_keep_their_order(server, tmp_path):
    ask = [chat(f"Write the word {noun} and nothing else.", 12, choices=(noun, f"not {noun}")) for noun in NOUNS * 4]
    ask = [Request((("user", f"{k}. {one.prompt[0][1]}"),), one.sampling) for k, one in enumerate(ask)]
    with through(tmp_path, server, concurrency=32) as teacher:
        replies = teacher.generate(ask)
    assert all(reply.text.removeprefix("not ") == NOUNS[k % 10] for k, reply in enumerate(replies))
    assert {reply.finish_reason for reply in replies} == {"stop"}


def test_replies_keep_to_choices_expressions_and_schemas(server, tmp_path):
    with through(tmp_path, server) as teacher:
        check_limits(teacher.generate(LIMITED))


def test_transformers_keeps_to_choices_expressions_and_schemas(tmp_path):
    with opened(tmp_path, transformers=str(smollm2())) as teacher:
        check_limits(teacher.generate(LIMITED))


def test_scores_and_choices_agree_between_server_and_transformers(server, tmp_path):
    with through(tmp_path / "a", server) as one, opened(tmp_path / "b", transformers=str(smollm2())) as other:
        for text, ours, theirs in zip(TO_SCORE, one.score(TO_SCORE), other.score(TO_SCORE), strict=True):
            assert ours.n_tokens == theirs.n_tokens, text
            assert ours.log_probability == pytest.approx(theirs.log_probability, rel=0.03, abs=0.5), text
        for labels in LABELS:
            for ours, theirs in zip(one.choose(TO_CHOOSE, labels), other.choose(TO_CHOOSE, labels), strict=True):
                assert math.fsum(map(math.exp, ours.values())) == pytest.approx(1)
                assert list(ours) == list(labels)
                for label in labels:
                    assert math.exp(ours[label]) == pytest.approx(math.exp(theirs[label]), abs=0.08), labels


def alike(sequences):
    """How many tokens all of them begin with."""
    return len(list(takewhile(lambda tokens: len(set(tokens)) == 1, zip(*sequences, strict=False))))


def test_transformers_scores_and_chooses_as_the_model_itself_does_one_by_one(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_llama(tmp_path / "tiny")
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def logs(ids):
        with torch.inference_mode():
            found = torch.log_softmax(network(torch.tensor([ids])).logits[0], -1)
        return [float(found[k, token]) for k, token in enumerate(ids[1:])]

    with opened(
        tmp_path / "cache", transformers={"model": str(folder), "dtype": "float32", "batch_tokens": 300}
    ) as teacher:
        for text, score in zip(TO_SCORE, teacher.score(TO_SCORE), strict=True):
            expected = logs(tokenizer(text)["input_ids"])
            assert score.n_tokens == len(expected)
            assert score.log_probability == pytest.approx(sum(expected), rel=1e-4)
        for labels in LABELS:
            for request, found in zip(TO_CHOOSE, teacher.choose(TO_CHOOSE, labels), strict=True):
                text = request.prompt
                if not isinstance(text, str):
                    turn = [{"role": "user", "content": text[0][1]}]
                    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
                prompt, wholes = tokenizer(text)["input_ids"], [tokenizer(text + one)["input_ids"] for one in labels]
                start = min(alike([prompt, whole]) for whole in wholes)
                sums = {label: sum(logs(whole)[start - 1 :]) for label, whole in zip(labels, wholes, strict=True)}
                total = math.log(sum(map(math.exp, sums.values())))
                assert found == pytest.approx({label: log - total for label, log in sums.items()}, abs=1e-3)


def test_transformers_replies_alike_alone_and_in_batches_and_by_seed(tmp_path):
    folder = tiny_llama(tmp_path / "tiny")
    ask = [chat(noun * (k + 1), 10 + k, temperature=0.7, top_p=0.9, seed=k) for k, noun in enumerate(NOUNS)]
    ask += [Request("It was", Sampling(6)), Request("It was", Sampling(6, temperature=1.5, seed=1))]
    kinds = {"model": str(folder), "dtype": "float32"}
    with opened(tmp_path / "a", transformers=kinds | {"batch_tokens": 1}) as teacher:
        alone = teacher.generate(ask)
    with opened(tmp_path / "b", transformers=kinds) as teacher:
        assert teacher.generate(ask) == alone
        assert teacher.facts["content_xxh3_128"]
    assert [reply.n_tokens for reply in alone if reply.finish_reason == "length"]
    assert len({reply.text for reply in alone}) > 10


def test_a_greedy_reply_is_what_transformers_itself_generates(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with opened(tmp_path, transformers={"model": str(smollm2()), "dtype": "float32"}) as teacher:
        [reply] = teacher.generate([Request("The capital of France is", Sampling(12))])
    network = AutoModelForCausalLM.from_pretrained(smollm2(), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smollm2())
    ids = tokenizer("The capital of France is", return_tensors="pt")
    found = network.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert reply.text == tokenizer.decode(found, skip_special_tokens=True)


def test_an_adapter_of_transformers_answers_otherwise_than_the_model(tmp_path):
    folder = tiny_llama(tmp_path / "tiny")
    adapter = random_adapter(folder, tmp_path / "adapter")
    kind = {"model": str(folder), "lora": {"finance": str(adapter)}}
    prompt, sampling = "It was", Sampling(8)
    with opened(tmp_path / "c", transformers=kind) as teacher:
        plain, tuned, again = teacher.generate(
            [Request(prompt, sampling), Request(prompt, sampling, "finance"), Request(prompt, sampling)]
        )
        assert plain == again
        assert plain.text != tuned.text
        with pytest.raises(RecipeError, match=r"teacher\.transformers\.lora: has no adapter 'law'; add it"):
            teacher.generate([Request(prompt, sampling, "law")])
    with opened(tmp_path / "d", transformers=str(folder)) as teacher:
        assert teacher.generate([Request(prompt, sampling)]) == [plain]


@pytest.mark.parametrize(
    ("model", "said"),
    [("./gone", r"teacher\.transformers\.model: ./gone: no such folder"),
     ("no/such-model-anywhere", "cannot be loaded"),
     ("EMPTY", "no weights in this folder")],
)  # fmt: skip
def test_a_model_that_is_not_there_is_one_line(model, said, tmp_path):
    with (
        pytest.raises(RecipeError, match=said),
        opened(tmp_path / "c", transformers=model.replace("EMPTY", str(tmp_path))),
    ):
        pass


def test_what_is_too_long_is_refused_by_the_server_and_by_transformers_and_the_rest_answered(server, tmp_path, capsys):
    ask = [chat("Is the sea blue?", 4), chat("bread " * 2000, 4)]
    with through(tmp_path / "a", server) as teacher:
        first, second = teacher.generate(ask)
        assert (first is None, second is None) == (False, True)
        assert teacher.score([PROSE, "bread " * 2000])[1] is None
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("teacher: refused 1 of 2 questions, the first: 400: ")
    assert "1024" in told[0]
    with opened(tmp_path / "b", transformers={"model": str(smollm2()), "max_model_len": 1024}) as teacher:
        assert [reply is None for reply in teacher.generate(ask)] == [False, True]


def test_a_model_or_an_adapter_that_is_not_served_is_one_line(server, tmp_path):
    with pytest.raises(RecipeError, match=r"teacher\.vllm\.model: 'smollm' is not served; did you mean 'smollm2'\?"):
        through(tmp_path, server, model="smollm").__enter__()
    with through(tmp_path, server) as teacher, pytest.raises(TeacherError, match="404: The model `law` does not exist"):
        teacher.generate([Request("It was", Sampling(2), "law")])


@contextmanager
def gate(url, port=0):
    """A port that leads to a server, until it is shut together with all that goes through it."""
    aim = ("127.0.0.1", int(url.rpartition(":")[2]))
    listener = socket.create_server(("127.0.0.1", port))
    ends = []

    def carry(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with_no_error(end.shutdown, socket.SHUT_RDWR)

    def accept():
        try:
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(aim)
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()
        except OSError:
            pass

    def shut():
        with_no_error(listener.shutdown, socket.SHUT_RDWR)
        listener.close()
        for end in ends:
            with_no_error(end.shutdown, socket.SHUT_RDWR)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", shut
    finally:
        shut()


def with_no_error(function, *arguments):
    with suppress(OSError):
        function(*arguments)


def shut_after(seconds, shut):
    timer = threading.Timer(seconds, shut)
    timer.start()
    return timer


def test_a_server_that_goes_away_leaves_its_work_to_the_other(server, tmp_path):
    ask = [chat(f"{k}. Tell me of {noun}.", 24) for k, noun in enumerate(NOUNS * 5)]
    with gate(server) as (url, shut), through(tmp_path, url, server, concurrency=8) as teacher:
        shut_after(2, shut)
        assert None not in teacher.generate(ask)


def test_the_only_server_going_away_is_one_line_and_the_run_goes_on_when_it_is_back(server, tmp_path):
    ask = [chat(f"{k}. Tell me of {noun}.", 24) for k, noun in enumerate(NOUNS * 5)]
    before = successes(server)
    with gate(server) as (url, shut), through(tmp_path, url, concurrency=8, retries=2) as teacher:
        shut_after(3, shut)
        with pytest.raises(
            TeacherError, match=rf"the server does not answer, 3 times in a row: {url} \(.*was answered is"
        ):
            teacher.generate(ask)
        answered = teacher.counts["answered"]
    assert 0 < answered < 50
    with gate(server, int(url.rpartition(":")[2])), through(tmp_path, url, concurrency=8) as teacher:
        assert None not in teacher.generate(ask)
        assert teacher.counts["from_cache"] == answered
    time.sleep(1)  # the server counts a moment later
    assert 50 <= successes(server) - before <= 50 + 8


KILLED = """
import sys
from pathlib import Path
from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Request, Sampling
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher
section = Teacher.model_validate({"vllm": {"urls": [sys.argv[1]], "concurrency": 4}})
ask = [Request((("user", f"{k}: why?"),), Sampling(16)) for k in range(40)]
with open_teacher(section, Path(sys.argv[2]), unwritten_log(quiet=True)) as teacher:
    print(len([reply.text for reply in teacher.generate(ask)]), teacher.counts["from_cache"])
"""


def test_a_killed_run_asks_again_only_for_what_was_under_way(server, tmp_path):
    before = successes(server)
    command = [sys.executable, "-c", KILLED, server, str(tmp_path)]
    client = subprocess.Popen(command)
    while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("part-*.jsonl")) < 12:
        assert client.poll() is None
        time.sleep(0.05)
    client.kill()
    client.wait()
    kept = sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("part-*.jsonl"))
    assert kept < 40
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == f"40 {kept}\n"
    time.sleep(1)
    assert 40 <= successes(server) - before <= 44


def test_grades_are_expected_values_over_labels(server, tmp_path):
    prompt = load("quality_grade")
    texts = [PROSE, "buy buy buy cheap cheap click here " * 10]
    ask = [Request(render(prompt, text=text), prompt.sampling_with(0)) for text in texts]
    with through(tmp_path, server) as teacher:
        found = teacher.choose(ask, prompt.choices)
    grades = [sum(int(label) * math.exp(log) for label, log in choice.items()) for choice in found]
    assert all(0 <= grade <= 5 for grade in grades)
    assert len({round(grade, 6) for grade in grades}) == 2
