"""Bytes ⇄ DIMSE (PS3.8 upper layer, PS3.7 command sets). No sockets, files, clocks or logging."""
