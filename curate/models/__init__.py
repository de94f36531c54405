"""The packaged language model for English, and the script that made it."""
