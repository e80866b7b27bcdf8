"""A network of ours in the formats of peers that do not read it."""
