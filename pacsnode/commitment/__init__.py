"""Storage commitment: which transactions are open, the verdict on each, and how it reaches who asked."""
