"""Tests of pacsnode.security."""
