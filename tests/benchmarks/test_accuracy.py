"""The tables of accuracy: what is in them, and that a bundle which loses is named."""

from benchmarks import accuracy
from benchmarks.accuracy import Accuracy, Pair, describe
from tvmpose.accuracy.coco_ap import AveragePrecision
from tvmpose.accuracy.evaluate import UNCHANGED, Row
from tvmpose.accuracy.joint_errors import JointErrors
from tvmpose.benchmark.machine import Disturbance, this_machine


def row(ap: float, runtime: str, pictures: str = UNCHANGED) -> Row:
    return Row("net", runtime, pictures, 9, 17, AveragePrecision(ap, 0.6, 0.3, 0.4), JointErrors(0.8, 0.7, ()), None)


def test_describe__a_pair_that_differs__is_named_and_one_that_does_not_is_not() -> None:
    near = Pair("near.onnx", row(0.3493, "tvmpose"), row(0.3480, "ORT"))
    far = Pair("far.onnx", row(0.3493, "tvmpose"), row(0.3472, "ORT"))
    found = Accuracy((near, far), (row(0.1, "tvmpose", "occlusion"),))
    text = describe(found, this_machine(), Disturbance(foreign=0.9, stolen=0.0, load=9.0))
    assert "| near.onnx | 34.93 | 34.80 | ORT |" in text and "near.onnx:" not in text
    assert "- far.onnx: 0.21 points apart (aim: 0.2)." in text
    assert "| net | occlusion | 10.00 | 60.00 | 30.00 | 40.00 | 80.00 | 70.00 |" in text
    assert accuracy.DOCUMENT.read_text().count("<!-- accuracy: begin -->\n") == 1
