"""The proof of the conformance statement."""
