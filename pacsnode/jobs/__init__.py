"""The engine of jobs: what a job is, what it may spend, when it runs, and what became of it."""
