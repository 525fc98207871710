"""The job that encodes old native instances losslessly, and replaces an object only by one that was proved the same."""
