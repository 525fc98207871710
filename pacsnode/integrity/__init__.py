"""The rolling scrub: finds what is damaged or missing, sets it aside, repairs it, and keeps what it found."""
