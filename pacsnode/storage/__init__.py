"""Where the bytes are: read ``store`` first, then ``layout``."""
