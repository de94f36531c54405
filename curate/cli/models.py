"""The commands that train and serve models: lm, adapter, serve."""

from dataclasses import asdict
from pathlib import Path

import click

from curate.cli.options import Commands, print_json
from curate.errors import CurateError
from curate.process.machine import available_cores

DTYPES = ("auto", "float32", "bfloat16", "float16")


@click.group(cls=Commands)
def lm() -> None:
    """Train language models of words, and score texts by them."""


@lm.command("train")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="The model: a new .arpa or .binary file."
)
@click.option("--order", type=click.IntRange(2, 6), default=5, show_default=True, help="Words of the longest n-grams.")
@click.option(
    "--prune", metavar="N,N,...", help="Leave out n-grams that stand there up to N times, by order; default: 0,0,1,1,1."
)
@click.option("--form", type=click.Choice(["words"]), default="words", show_default=True, help="What is a token.")
@click.option("--text", default="text", show_default=True, help="The column that holds the texts.")
@click.option("--memory", default="4GB", show_default=True, help="What it may take; the rest goes to the disk.")
@click.option("--threads", type=click.IntRange(1), help="Default: one per core.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print what was trained as JSON.")
def lm_train(
    inputs: tuple[str, ...],
    output: Path,
    order: int,
    prune: str | None,
    form: str,
    text: str,
    memory: str,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train an n-gram model on Parquet or JSONL files, folders or globs, and write it for KenLM.

    \b
    Example:
        curate lm train reference/*.parquet --output models/reference.arpa
    """
    from curate.cli.output.run import print_trained
    from curate.filters.language.train import Training, parse_memory, parse_prune, train
    from curate.maps.compile_notice import report_kernels

    report_kernels(quiet or as_json)
    training = Training(
        inputs=inputs,
        output=output,
        order=order,
        prune=parse_prune(prune, order),
        text=text,
        form=form,
        memory=parse_memory(memory),
        threads=threads or available_cores(),
        quiet=quiet or as_json,
    )
    trained = train(training)
    if as_json:
        print_json({"output": str(output), **asdict(trained)})
    else:
        print_trained(training, trained)


@click.group(cls=Commands)
def adapter() -> None:
    """Train LoRA adapters, by which a language model learns how texts of a domain read."""


@adapter.command("train")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--domain", required=True, metavar="NAME", help="A domain of the recipe's tier3.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder; default: in the run directory.")
@click.option("--set", "changes", multiple=True, metavar="A.B=C", help="Change a field of the recipe.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
def adapter_train(
    recipe: Path, domain: str, out: Path | None, changes: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Train the adapter of a domain of RECIPE on the domain's seeds, or go on with a training that was stopped.

    \b
    Example:
        curate adapter train recipe.yaml --domain finance
    """
    from curate.cli.output.run import print_adapter
    from curate.distill.lora.texts import train_domain
    from curate.progress import unwritten_log
    from curate.recipe.load import load_recipe

    folder, facts = train_domain(load_recipe(recipe, changes), domain, out, unwritten_log(quiet or as_json))
    if as_json:
        print_json({"domain": domain, "folder": str(folder), **asdict(facts)})
    else:
        print_adapter(domain, folder, facts)


@click.command()
@click.argument("model")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED)
@click.option("--lora", multiple=True, metavar="NAME=PATH", help="A LoRA adapter and the folder it lies in.")
@click.option("--name", help="The name that requests call the model by; default: the last part of MODEL.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens; 0.0.0.0: everywhere.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--tensor-parallel", type=click.IntRange(1), default=1, show_default=True, help="GPUs that share it.")
@click.option("--dtype", type=click.Choice(DTYPES), default="auto", show_default=True, help="Type of the weights.")
@click.option("--quantization", help="As vLLM names it, as in fp8.")
@click.option("--max-model-len", type=click.IntRange(2), help="Tokens of prompt and reply; default: the model's.")
@click.option("--log", "log_file", type=click.Path(path_type=Path), help="What vLLM says; default: in our cache.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def serve(
    model: str,
    extra: tuple[str, ...],
    lora: tuple[str, ...],
    name: str | None,
    host: str,
    port: int,
    tensor_parallel: int,
    dtype: str,
    quantization: str | None,
    max_model_len: int | None,
    log_file: Path | None,
    quiet: bool,
) -> None:
    """Serve MODEL, a folder or a name on the Hugging Face Hub, with vLLM until Ctrl-C; EXTRA goes to vLLM as it is.

    \b
    Example:
        curate serve Qwen/Qwen3-8B --lora finance=adapters/finance -- --gpu-memory-utilization 0.8
    """
    from curate.distill.teacher.vllm.serve import ServerOptions, serve_forever

    options = ServerOptions(
        model=model,
        name=name or Path(model).name,
        port=port,
        host=host,
        lora=dict(map(_adapter, lora)),
        dtype=dtype,
        quantization=quantization,
        tensor_parallel=tensor_parallel,
        max_model_len=max_model_len,
        extra=extra,
    )
    for line in serve_forever(options, log_file, quiet):
        click.echo(line)


def _adapter(argument: str) -> tuple[str, str]:
    """Parse NAME=PATH."""
    name, equals, path = argument.partition("=")
    if not (name and equals and path):
        raise CurateError(f"--lora {argument}: write it as NAME=PATH")
    return name, path
