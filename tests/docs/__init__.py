"""The documents, run: each command block in a scratch home, beside a real node."""
