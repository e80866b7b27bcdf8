"""How fast and how big: one module per question, each a command of its own (README.md)."""
