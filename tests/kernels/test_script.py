import inspect

import pytest
from tvm.script.parser.core import parser

from tvmpose.kernels.script import T


def test_parser__as_shipped__still_lists_every_frame_with_its_source():
    # Where this fails, TVM has mended it: drop kernels/script.py.
    assert "inspect.getouterframes" in inspect.getsource(parser)


def test_inline__inside_another_function_s_kernel__belongs_to_the_parser_under_way():
    @T.inline
    def twice(buffer, at):
        buffer[at] = buffer[at] * T.float32(2)

    @T.prim_func
    def outer(x: T.Buffer((2,), "float32")):
        twice(x, 1)

    assert "x[1] * T.float32(2" in outer.script() and "x[0]" not in outer.script()


def test_inline__outside_of_a_kernel__says_so():
    @T.inline
    def nothing(buffer):
        buffer[0] = T.float32(0)

    with pytest.raises(RuntimeError, match="no parser is under way"):
        nothing(None)
