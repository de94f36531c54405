"""What is measured and what is dropped; one idea a file."""
