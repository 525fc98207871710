"""The conformance statement."""
