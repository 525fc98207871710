"""The audit trail: what happened to patient data, as PS3.15 A.5 messages in a sealed chain of records."""
