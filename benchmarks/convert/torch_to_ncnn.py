"""A card's network in PyTorch as ncnn's NAME.param and NAME.bin, by pnnx.

python -m benchmarks.convert.torch_to_ncnn CARD OUT.param
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.convert.card_network import network_and_picture, run
from tvmpose.extras import require


def convert(card_name: str, output: Path) -> None:
    """Write both files, in float32. Raises SetupError where pnnx is not installed."""
    pnnx = require("pnnx", extra="bench")
    net, picture = network_and_picture(card_name)
    files = {"ncnnparam": str(output.resolve()), "ncnnbin": str(output.resolve().with_suffix(".bin"))}
    with tempfile.TemporaryDirectory() as folder:  # pnnx leaves six files of its own beside its input
        pnnx.export(net, str(Path(folder) / "net.pt"), (picture,), fp16=False, **files)


if __name__ == "__main__":
    sys.exit(run(convert, "torch_to_ncnn", __doc__.split("\n")[0], ".param"))
