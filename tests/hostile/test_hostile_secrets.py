"""Passwords, signatures and keys of recipes, the environment or a server: they stay out of all that is told."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_shard
from support.recipes import TIER2, purifying, write_recipe
from support.stand_in import StandIn, rewriting, running

import curate.distill.teacher.vllm.client
from curate.engine.base import InProcess
from curate.errors import CurateError, InputError, RecipeError
from curate.pipeline.run import run as carried_out
from curate.progress import open_log
from curate.recipe.load import load_recipe
from curate.redaction import redacted, without_credentials

KEPT_OUT = {
    "https://me:pa55word@host/v1": "https://***@host/v1",
    "s3://AKID:se/cret@bucket/a": "s3://AKID:se/cret@bucket/a",  # no URL has a / in its password
    "https://me:p@55@host": "https://***@host",
    "https://ghp_0123456789abcdefghijABCDEFGHIJ012345@github.com/x": "https://***@github.com/x",
    "https://b.s3.amazonaws.com/x?X-Amz-Date=1&X-Amz-Signature=abc&x=1": (
        "https://b.s3.amazonaws.com/x?X-Amz-Date=1&X-Amz-Signature=***&x=1"
    ),
    "x?X-Amz-Credential=A%2FB&X-Amz-Security-Token=C": "x?X-Amz-Credential=***&X-Amz-Security-Token=***",
    "https://x.blob.core.windows.net/a?sv=2&sig=a%2Fb%3D": "https://x.blob.core.windows.net/a?sv=2&sig=***",
    "https://h/?access_token=abc#x": "https://h/?access_token=***#x",
    "https://h/?q=1&amp;token=abc": "https://h/?q=1&amp;token=***",
    "Authorization: Basic dXNlcjpwYXNz1": "Authorization: Basic ***",
    "Bearer abcdefgh1": "Bearer ***",
    "hf_abcdefghijklmnopqrstuv": "***",
    "sk-proj-abcdefghijkl0123456789": "***",
    "AKIAIOSFODNN7EXAMPLE": "***",
}
UNTOUCHED = [
    "https://host:8000/v1@2", "datasets://owner/name/@main", "a bearer certificates of shares", "me@example.com",
    "n_tokens=5", "keep_tokens=15%", "sk-button-primary-large-rounded-2024", "data/sk-train-00000-of-00064.parquet",
    "abfss://corpus@account.dfs.core.windows.net/web", "sftp://user@host/x", "https://h/?page=2&sort=key", "key=value",
]  # fmt: skip
KEY, PASSWORD, SIGNATURE, TOKEN = "unguessable-key-1", "pa55w0rd-of-basic", "5ignature0f5tore", "hf_short_of_the_hub"


@pytest.mark.parametrize("text", KEPT_OUT)
def test_a_credential_is_starred_and_the_rest_stays(text):
    assert redacted(text) == KEPT_OUT[text]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_only_looks_like_a_credential_stays(text):
    assert redacted(text) == text


def test_keys_of_the_environment_are_starred_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "short")
    assert redacted(f"401: no user for {TOKEN}, short") == "401: no user for ***, short"


def test_what_is_read_again_loses_the_credentials_of_urls_alone(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a-key-that-is-a-word")
    kept = [
        "data/sk-train-00000-of-00064.parquet",
        "input.url LIKE '%?token=%'",
        "s3://a-key-that-is-a-word/x",
        1,
        None,
    ]
    url = f"https://me:{PASSWORD}@host/x?sig={SIGNATURE}&page=1"
    assert without_credentials({"a": kept, "b": url}) == {"a": kept, "b": "https://***@host/x?sig=***&page=1"}


def test_paths_and_conditions_of_a_run_are_those_of_its_recipe(tmp_path):
    path = write_shard(tmp_path / "in" / "sk-train-00000-of-00064.parquet", [f"{PROSE} {k}" for k in range(9)],
                       url=[f"https://h/?token={k % 2}" for k in range(9)])  # fmt: skip
    write_shard(tmp_path / "in" / "other.parquet", [f"{PROSE} other {k}" for k in range(9)])
    rules = [{"reason": "session_url", "when": "input.url LIKE '%?token=1%'"}]
    recipe, run = write_recipe(tmp_path, path, tier1={"rules": rules})
    assert carry_out(recipe)["documents_out"] == 5
    again = load_recipe(run / "recipe.yaml")
    assert again.digest() == load_recipe(recipe).digest()
    assert again.input.paths == load_recipe(recipe).input.paths
    manifest = json.loads((run / "manifest.json").read_text())
    assert "'%?token=1%'" in json.dumps(manifest)
    assert [file["path"] for file in manifest["inputs"]] == ["sk-train-00000-of-00064.parquet"]


def test_errors_and_logs_tell_no_credential(tmp_path, capsys):
    url = f"https://me:{PASSWORD}@host/x?sig={SIGNATURE}"
    assert str(CurateError(url)) == "https://***@host/x?sig=***"
    with open_log(tmp_path, quiet=False) as log:
        log.event("failed", error=url, places=[{"at": url}])
        log.say(url)
    told = (tmp_path / "run.log").read_text() + capsys.readouterr().err
    assert told.count("https://***@host/x?sig=***") == 3
    assert PASSWORD not in told
    assert SIGNATURE not in told


def echoing(n, body):
    """A server that fails at first, and repeats in its message all that it was sent."""
    if n <= 2:
        return 500, {}, {"error": {"message": f"no room for {KEY} of http://me:{PASSWORD}@here"}}
    return rewriting(n, body)


def test_nothing_that_a_run_writes_or_tells_holds_a_password_or_a_key(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(curate.distill.teacher.vllm.client, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("TEACHER_KEY", KEY)
    table = pq.read_table(corpus / "corpus.parquet").slice(0, 400)
    places = [f"https://store/{k % 2}?X-Amz-Signature={SIGNATURE}" for k in range(len(table))]
    (tmp_path / "in").mkdir()
    pq.write_table(table.append_column("place", pa.array(places)), tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / f"b.parquet?X-Amz-Signature={SIGNATURE}").touch()
    server = StandIn(echoing)
    with running(server) as url:
        path, run = purifying(corpus, tmp_path, tier2=TIER2 | {"rounds": 1, "written": 2}, export=["hf", "jsonl"])
        fields = yaml.safe_load(path.read_text())
        fields["input"] |= {"paths": [str(tmp_path / "in")], "strata": ["place"]}
        asked = {"urls": [url.replace("//", f"//me:{PASSWORD}@")], "api_key_env": "TEACHER_KEY", "concurrency": 1}
        path.write_text(yaml.safe_dump(fields | {"teacher": {"vllm": asked}}))
        carried_out(load_recipe(path), InProcess(), threads=2)
        requests = len(server.bodies)
        before = (run / "manifest.json").read_bytes()
        other = load_recipe(path, [f"teacher.vllm.urls=[{url.replace('//', '//me:another-one@')}]"])
        carried_out(other, InProcess(), threads=2)
    assert requests == len(server.bodies) > 2, "another password changes no decision"
    assert before == (run / "manifest.json").read_bytes()
    told = capsys.readouterr().err
    commands = (["report", run], ["runs", tmp_path, "--json"], *(
        ["card", run, "--format", form] for form in ("markdown", "croissant", "openlineage")
    ))  # fmt: skip
    done = [command(*words) for words in commands]
    assert not any(one.returncode for one in done), done
    told += "".join(one.stdout + one.stderr for one in done)
    written = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    holding = {
        name: sorted(file.relative_to(run).as_posix() for file, content in written.items() if name.encode() in content)
        for name in (KEY, PASSWORD, "another-one", SIGNATURE)
    }
    data = [name for name in holding.pop(SIGNATURE) if not name.endswith((".parquet", ".jsonl", ".duckdb"))]
    assert data == [], "columns of documents are as they came, and nothing else tells of a signature"
    assert holding == {KEY: [], PASSWORD: [], "another-one": []}
    assert not [name for name in (KEY, PASSWORD, SIGNATURE) if name in told]
    assert "no room for *** of http://***@here" in (run / "run.log").read_text()
    assert "http://***@127.0.0.1" in (run / "recipe.yaml").read_text()
    assert "X-Amz-Signature=***" in json.loads(before)["mixture"]["input.place"][0]["value"]


@pytest.mark.parametrize(
    "uri", ["s3://AKID:secret@bucket/x.parquet", "https://me:secret@host/x.parquet", "ftp://:secret@b/c"]
)
def test_an_input_with_a_password_in_its_uri_is_refused_without_repeating_it(tmp_path, good, uri):
    recipe, _ = write_recipe(tmp_path, uri)
    said = refused(recipe, InputError)
    assert "credentials come from the environment" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "uri", ["https://b.s3.amazonaws.com/x.parquet?X-Amz-Signature=secret", "s3://b/x?token=secret"]
)
def test_an_input_that_is_signed_is_refused_as_the_ledger_would_keep_it(tmp_path, uri):
    recipe, run = write_recipe(tmp_path, uri)
    said = refused(recipe, InputError)
    assert "holds a credential, which the ledger would keep" in said
    assert "secret" not in said
    assert not (run / "ledger").exists() or "secret" not in (run / "run.log").read_text()


@pytest.mark.parametrize(
    "uri",
    [
        "abfss://corpus@account.dfs.core.windows.net/web/*.parquet",
        "wasbs://corpus@account.blob.core.windows.net/web/a.parquet",
        "sftp://user@host/x.parquet",
        "memory://container@account/web/*.parquet",
    ],
)
def test_a_name_before_the_host_is_no_credential(tmp_path, uri):
    recipe, _ = write_recipe(tmp_path, uri)
    said = refused(recipe, InputError)  # by what the store itself needs, or lacks
    assert said.startswith(f"input.paths: {uri.split('://')[0]}://")
    assert "credentials" not in said


def test_a_store_that_needs_more_than_its_scheme_is_refused_in_one_line(tmp_path):
    recipe, _ = write_recipe(tmp_path, "ftp://host/x.parquet")
    assert "ftp://" in refused(recipe, InputError)


@pytest.mark.parametrize("field", ["source", "license"])
def test_a_source_with_a_credential_is_refused_as_the_data_would_hold_it(tmp_path, good, field):
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    entry = {"paths": [str(tmp_path / "in")], field: "https://me:secret@host/x"}
    said = refused(recipe, RecipeError, f"input.paths={json.dumps([entry])}")
    assert f"`{field}` holds a credential" in said
    assert "secret" not in said


def test_a_key_where_the_name_of_its_variable_belongs_is_refused(tmp_path, good):
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    teacher = {"vllm": {"urls": ["http://h"], "api_key_env": "sk-secret"}}
    said = refused(recipe, RecipeError, f"teacher={json.dumps(teacher)}")
    assert "names the environment variable" in said
    assert "sk-secret" not in said
