"""DIMSE over associations, with pynetdicom's codecs and tables under our own loop. Only this room imports pynetdicom."""
