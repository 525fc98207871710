"""Who is who: certificates, users and their proofs, who knocked in vain. Decisions alone; sockets are elsewhere."""
