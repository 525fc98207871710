"""Proof of the conformance statement: a peer of its own, built on pynetdicom, that asks a node for all it claims."""
