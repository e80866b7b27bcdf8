"""What a record must have been made with to be of use."""

import tvm

from tvmpose.kernels.choices import VERSION


def versions() -> tuple[int, str]:
    """Of the templates and of TVM."""
    return VERSION, str(tvm.__version__)
