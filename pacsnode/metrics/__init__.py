"""What the node tells monitoring: counters of its operations, and facts read when somebody asks; over HTTP."""
