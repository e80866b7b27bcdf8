"""What a library is called: its file, its symbols; and the function that it exports, which chooses among levels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Of one library of the bundle called ``bundle``, a C identifier; ``level`` where it is one of several."""

    bundle: str
    level: str | None = None
    least: bool = True  # of all levels: its file has the plain name, so that who knows of no levels takes that one

    @property
    def symbol(self) -> str:
        """Prefix of what its objects share. All levels link into one program, so each has its own."""
        return self.bundle if self.level is None else f"{self.bundle}_{re.sub('[.-]', '_', self.level)}"

    @property
    def file(self) -> str:
        return f"lib{self.bundle}.so" if self.least else f"lib{self.bundle}-{self.level}.so"

    @property
    def archive(self) -> str:
        return f"lib{self.symbol}.a"

    @property
    def entry(self) -> str:
        """The function that the shared library exports, whatever its level."""
        return f"{self.bundle}_tvmpose"


def entry_source(levels: Sequence[Names]) -> str:
    """The text of entry.c, the bundle's entry: the table of the first level, the most demanding, that this CPU runs.

    The last one's where it runs none: its open says what is lacking.
    """
    entry = levels[0].entry
    declarations = "".join(f"const tvmpose_api *{level.symbol}_tvmpose(void);\n" for level in levels)
    *better, least = (f"{level.symbol}_tvmpose()" for level in levels)
    choice = "".join(f"  if ({table}->check_cpu() == TVMPOSE_OK) return {table};\n" for table in better)
    visible = '__attribute__((visibility("default")))'
    head = f'#include "tvmpose.h"\n\n{declarations}\n{visible} const tvmpose_api *{entry}(void);\n'
    return f"{head}const tvmpose_api *{entry}(void) {{\n{choice}  return {least};\n}}\n"
