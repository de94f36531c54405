"""A folder that the Hugging Face Hub and `datasets` read: Parquet shards of one schema, and a card."""

from pathlib import Path

import pyarrow as pa

from curate.manifests.cards.card import card
from curate.manifests.cards.croissant import croissant
from curate.manifests.cards.features import without_maps
from curate.manifests.cards.files import DataFile
from curate.manifests.cards.mixture_card import mixture_card
from curate.manifests.export.format import Export, Format, Piece, WrittenPiece, literal
from curate.manifests.export.sources import TRAIN
from curate.manifests.export.training_view import MIXTURE, source_views
from curate.manifests.manifest import schema_field
from curate.manifests.schema.model import Manifest
from curate.manifests.schema.reading import read_manifest
from curate.maps.shards import write_tables
from curate.storage.files import committed, write_json

README, CROISSANT, MANIFEST = "README.md", "croissant.json", "manifest.json"


def write(piece: Piece) -> WrittenPiece:
    """One Parquet file: with all columns of the run, or for a mixture with the plain ones."""
    return write_parquet(piece, plain=False)


def write_parquet(piece: Piece, plain: bool = True) -> WrittenPiece:
    """One Parquet file, with the plain columns or with all of the run's."""
    path = piece.path(".parquet")
    return WrittenPiece((path,), write_tables(path, piece.plain() if plain else map(_readable, piece.whole())))


def _readable(table: pa.Table) -> pa.Table:
    """The same rows, with column types that `datasets` has."""
    kinds = [field.with_type(without_maps(field.type)) for field in table.schema]
    return table.cast(pa.schema(kinds, table.schema.metadata))


def finish(exported: Export) -> list[Path]:
    """The card; of one run, its manifest and its Croissant description too."""
    files = [exported.folder / README]
    with committed(files[0]) as aside:
        aside.write_text(_card(exported), "utf-8")
    if len(exported.sources) == 1:
        run = Path(exported.sources[0].run)
        files += [exported.folder / CROISSANT, exported.folder / MANIFEST]
        write_json(files[1], croissant(_manifest(exported), _data_files(exported)))
        with committed(files[2]) as aside:
            aside.write_bytes((run / MANIFEST).read_bytes())
    return files


def _card(exported: Export) -> str:
    """The run's card for these files, or the card of a mixture."""
    if len(exported.sources) > 1:
        return mixture_card(exported, configs(exported), mixed_code(exported))
    return card(_manifest(exported), _data_files(exported), configs(exported))


def _manifest(exported: Export) -> Manifest:
    """The manifest of the one run, with the columns of the export."""
    columns = [schema_field(field.with_type(without_maps(field.type))) for field in exported.schema()]
    return read_manifest(Path(exported.sources[0].run)).model_copy(update={"schema_": columns})


def _data_files(exported: Export) -> list[DataFile]:
    return [
        DataFile(file.path, piece.documents, file.bytes, file.sha256)
        for piece in exported.pieces
        for file in piece.files
    ]


def configs(exported: Export) -> list[dict[str, object]]:
    """The configurations of the front matter: one for each source, called `default` where there is only one."""
    names = [source.name for source in exported.sources]
    return [
        {
            "config_name": name if len(names) > 1 else "default",
            "data_files": [
                {"split": split, "path": data_files(exported, split, name)}
                for split in exported.splits()
                if exported.of(split, name)
            ],
        }
        for name in names
    ]


def data_files(exported: Export, split: str, source: str) -> str:
    """The files of a split of a source, as a glob from the folder."""
    parent = Path(exported.of(split, source)[0].stem).parent
    return f"{parent.as_posix()}/{split}-*.parquet"


def mixed_code(exported: Export) -> str:
    """Code that makes one shuffled dataset from the sources of a folder, each repeated by its epochs."""
    sources = source_views(exported)
    files = "".join(f'    "{s.name}": "{data_files(exported, TRAIN, s.name)}",\n' for s in sources)
    epochs = ", ".join(f'"{source.name}": {round(source.epochs, 6)!r}' for source in sources)
    return f"""from datasets import concatenate_datasets, load_dataset

files = {{
{files}}}
epochs = {{{epochs}}}
parts = []
for name, pattern in files.items():
    data = load_dataset("parquet", data_files=pattern, split="train").shuffle(seed=17)
    whole, part = divmod(epochs[name], 1)
    parts += [data] * int(whole) + [data.select(range(round(part * len(data))))]
train = concatenate_datasets(parts).shuffle(seed=17)"""


def load(folder: Path) -> str:
    """How it is read."""
    if (folder / MIXTURE).exists():
        return f"the code in {folder}/{README}, started in its folder"
    return f'datasets.load_dataset({literal(folder)}, split="train")'


FORMAT = Format("hf", "Hugging Face datasets", write, finish, load, keeps_columns=True, chats=True)
