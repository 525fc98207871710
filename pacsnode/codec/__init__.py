"""Pixels: codecs in processes of their own, and what is made of whole objects with them. Never in the daemon's."""
