"""Runs on a board, where there is NumPy, one network over many inputs:

    python3 on_board.py litert MODEL.tflite FILE.npz     FILE.npz: the input of each frame
    python3 on_board.py bundle BUNDLE FILE.npz           FILE.npz: pairs of a picture (uint8 BGR) and a box

and prints nothing, but replaces FILE.npz: by LiteRT's outputs, frame for frame, or by the bundle's keypoints.
"""

import sys

import numpy as np


def litert(model, arrays):
    """LiteRT as it is by default, one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    (detail,) = interpreter.get_input_details()
    for array in arrays:
        interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        for output in interpreter.get_output_details():
            yield interpreter.get_tensor(output["index"])


def bundle(folder, arrays):
    """The bundle's own binding."""
    sys.path.insert(0, folder)
    import pose

    with pose.load(folder) as network:
        for picture, box in zip(arrays[::2], arrays[1::2]):  # noqa: B905 - a board's Python may be old
            yield network(picture, [box])[0].keypoints


if __name__ == "__main__":
    _, runtime, network, file = sys.argv
    with np.load(file) as table:
        inputs = [table[name] for name in table.files]
    results = list({"litert": litert, "bundle": bundle}[runtime](network, inputs))
    np.savez(file, *results)
