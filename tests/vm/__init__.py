"""The units, run by a real systemd in a machine of its own."""
