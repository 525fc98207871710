"""The composition root: Config → Store, Index, Archive, services. The only file that knows every class."""
