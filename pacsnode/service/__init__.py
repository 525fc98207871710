"""The node as a service: systemd's notifications, signals, and the control socket that ``status`` asks."""
