"""What DICOM data means: structure, header, character sets, identifiers. No I/O."""
