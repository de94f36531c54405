"""The packaged language model for English and the packaged distribution of good prose; see README.md."""
