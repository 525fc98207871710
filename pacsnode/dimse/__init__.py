"""DIMSE over associations: pynetdicom's AE, server and tables, our own loop. The only room that imports pynetdicom."""
