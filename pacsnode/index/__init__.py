"""The index: rows about the objects of the store, for queries. Read index.py first; sqlite.py is what runs."""
