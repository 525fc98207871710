"""Studies that go, by people's word or by rules, kept in the trash for a while; never while a legal hold is on them."""
