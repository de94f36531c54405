"""What an LLM adds, what the token budget keeps, and what that cost."""
