"""Words with punctuation split off, like the tokens of rule-based tokenizers."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal
from curate.kernels import divide


@signal(
    group="pieces",
    writes={
        "n_pieces": pa.int64(),
        "n_word_pieces": pa.int64(),
        "mean_word_piece_length": pa.float32(),
        "alpha_piece_ratio": pa.float32(),
        "n_stop_pieces": pa.int64(),
        "hash_piece_ratio": pa.float32(),
        "ellipsis_piece_ratio": pa.float32(),
        "newline_piece_ratio": pa.float32(),
        "n_piece_sentences": pa.int64(),
    },
)
def piece_shape(texts: pa.Array) -> Columns:
    """Pieces per document and their shape, for rules that were made with a tokenizer which splits punctuation off.

    n_pieces                pieces: words without the marks at their ends, and each of these marks
    n_word_pieces           pieces with a letter or digit
    mean_word_piece_length  characters per piece with a letter or digit; null without these
    alpha_piece_ratio       pieces with at least one letter per piece; null without pieces
    n_stop_pieces           how many of the, be, to, of, and, that, have, with are pieces, in lower case only
    hash_piece_ratio        "#" per piece; null without pieces
    ellipsis_piece_ratio    "..." or "…" per piece; null without pieces
    newline_piece_ratio     newlines per piece; null without pieces
    n_piece_sentences       sentences: up to a piece that is ".", "!", "?" or the like, or the end of a line
    """
    count = kernels.count_pieces(texts)
    pieces = count["pieces"]
    return {
        "n_pieces": pieces,
        "n_word_pieces": count["word_pieces"],
        "mean_word_piece_length": divide(count["word_characters"], count["word_pieces"]),
        "alpha_piece_ratio": divide(count["alpha_pieces"], pieces),
        "n_stop_pieces": count["distinct_stop_words"],
        "hash_piece_ratio": divide(count["hashes"], pieces),
        "ellipsis_piece_ratio": divide(count["ellipses"], pieces),
        "newline_piece_ratio": divide(count["newlines"], pieces),
        "n_piece_sentences": count["sentences"],
    }
