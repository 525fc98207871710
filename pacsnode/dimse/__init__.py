"""DIMSE over associations: pynetdicom's codecs and tables under our own loop. The only room that imports pynetdicom."""
