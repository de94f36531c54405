"""Labels as tokens: behind a prompt, where they melt into its end, and where they cannot be told apart."""

import json
import math
import re

import pytest
from support.stand_in import StandIn

from curate.distill.teacher.labels import tokenize_labels
from curate.distill.teacher.protocol import Request, Sampling
from curate.errors import RecipeError


def encode(text):
    """Tokens as the usual tokenizers make them: a word takes the space before it along; a number each."""
    words = re.findall(r" ?[a-z]+| |[0-9]|[^ a-z0-9]", text)
    return [sum(ord(letter) * 31**k for k, letter in enumerate(word)) % 100_003 for word in words]


def test_a_label_is_what_follows_the_prompt():
    labels = tokenize_labels(encode, "answer:", ["yes", "no", "not so"])
    assert labels.cut == 0
    assert labels.appended_to([7, 8]) == [[7, 8, *encode(label)] for label in ("yes", "no", "not so")]
    assert labels.lengths() == [1, 1, 2]
    assert labels.single_tokens() == []
    assert tokenize_labels(encode, "answer:", ["0", "1"]).single_tokens() == [*encode("0"), *encode("1")]


def test_a_space_that_melts_into_the_labels_is_taken_from_the_prompt():
    labels = tokenize_labels(encode, "answer: ", ["yes", "7"])
    assert labels.cut == 1
    assert labels.appended_to([5, 6, *encode(" ")]) == [[5, 6, *encode(" yes")], [5, 6, *encode(" 7")]]
    assert labels.single_tokens() == []


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["yes"], "labels: 'yes': give at least two"),
        (["a", "a"], "labels: 'a', 'a': give at least two, all different"),
        (["a", ""], "none empty"),
        (["1", "12"], "labels: '12' begins with '1', and none can tell them apart; rename one"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels, said):
    with pytest.raises(RecipeError, match=said):
        tokenize_labels(encode, "answer:", labels)


def test_probabilities_sum_to_one_however_small():
    labels = tokenize_labels(encode, "", ["0", "1", "2"])
    found = labels.choice([-2000.0, -2001.0, -3000.0])
    assert list(found) == ["0", "1", "2"]
    assert math.fsum(map(math.exp, found.values())) == pytest.approx(1)
    assert found["0"] - found["1"] == pytest.approx(1)


LOGS = {"yes": -1.0, "no": -2.0, "not": -0.5, "so": -3.0}


def speaks(knows_token_ids):
    """A stand-in with tokens and the logarithms above; older servers of vLLM pass over the field for token ids."""
    words = {encode(word)[0]: word for word in LOGS} | {encode(f" {word}")[0]: word for word in LOGS}

    def behave(n, body):
        if "tokens" in body:
            return 200, {}, {"prompt": "assistant:"}
        if "max_tokens" not in body:  # /tokenize
            return 200, {}, {"tokens": encode(body.get("prompt") or "user:x assistant:")}
        if "prompt_logprobs" in body:
            rows = [[None, *({"1": {"logprob": LOGS.get(words.get(token), -9.0)}} for token in row[1:])]
                    for row in body["prompt"]]  # fmt: skip
            return 200, {}, {"choices": [{"index": k, "prompt_logprobs": row} for k, row in enumerate(rows)][::-1]}
        ids = body["logprob_token_ids"] if knows_token_ids else [encode("other")[0]]
        told = [{"token": f"token_id:{token}", "logprob": LOGS.get(words.get(token), -7.0)} for token in ids]
        return 200, {}, {"choices": [{"logprobs": {"content": [{"top_logprobs": told}]}}]}

    return StandIn(behave)


ASKED = [Request((("user", "is it?"),), Sampling(1)), Request("is it? ", Sampling(1))]


@pytest.mark.parametrize("knows_token_ids", [True, False])
def test_a_server_is_asked_once_for_single_tokens_and_otherwise_scores_each_label(knows_token_ids, teach):
    server = speaks(knows_token_ids)
    teacher = teach(server, concurrency=1)
    chat, plain = teacher.choose(ASKED, ["yes", "no"])
    total = math.log(math.exp(-1) + math.exp(-2))
    assert chat == pytest.approx({"yes": -1 - total, "no": -2 - total})
    assert plain == pytest.approx(chat)
    assert teacher.choose(ASKED[:1], ["yes", "not so"])[0] == pytest.approx(
        {label: log - math.log(math.exp(-1) + math.exp(-3.5)) for label, log in {"yes": -1, "not so": -3.5}.items()}
    )
    scored = [body["prompt"] for _, body in server.bodies if "prompt_logprobs" in body]
    assert len(scored) == (2 if knows_token_ids else 3)
    assert [len(rows) for rows in scored] == [2] * len(scored)


def test_the_tokens_of_labels_are_asked_for_once(teach):
    server = speaks(knows_token_ids=True)
    teach(server).choose([Request((("user", f"is it {k}?"),), Sampling(1)) for k in range(20)], ["yes", "no"])
    paths = [path for path, _ in server.bodies]
    assert paths.count("/v1/chat/completions") == 20
    assert len(paths) == 20 + 2 + 3  # the end of the template, and it alone and with either label
    assert json.dumps(server.bodies[-1][1]["logprob_token_ids"]) == json.dumps([*encode("yes"), *encode("no")])
