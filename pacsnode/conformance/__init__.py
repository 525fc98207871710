"""The conformance statement (PS3.2): what a configuration claims, made from the tables the program works with."""
