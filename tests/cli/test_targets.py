"""The devices on the command line."""

import pytest

from tvmpose.cli.main import main
from tvmpose.targets import list_targets


def shown(capsys: pytest.CaptureFixture[str], target: str) -> dict[str, str]:
    assert main(["targets", "show", target]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {key: value for key, _, value in (line.strip().partition("  ") for line in lines)}


def test_targets__table__a_line_for_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "device", "cpu", "system"]
    assert [line.split()[0] for line in lines[1:]] == list_targets()
    (pi,) = (line for line in lines if line.startswith("raspberry-pi-5 "))
    assert "cortex-a76" in pi and pi.endswith("glibc 2.36 or later")


def test_targets_show__raspberry_pi_4__what_is_known_and_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    facts = shown(capsys, "raspberry-pi-4-32bit")
    assert facts["triple"] == "armv7-linux-gnueabihf"
    assert facts["cores"] == "4 x Cortex-A72, 32 KiB L1 data, 1024 KiB L2"
    assert facts["vectors"].startswith("16 registers of 4 floats")
    assert facts["checked"].startswith("crc, neon ")


def test_targets_show__archive_only__says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "archive" in shown(capsys, "apple-m1")["result"]
    assert shown(capsys, "wasm32-simd")["system"] == "WASI"
    assert shown(capsys, "ios-arm64")["checked"].startswith("crc, fullfp16, ")


def test_targets_show__phone__pages_and_what_replaces_the_ndk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    facts = shown(capsys, "pixel-8")
    assert facts["result"].endswith("pages of 16 KiB")
    assert facts["system"] == "Android API level 34 or later"
    assert "no Android NDK" in facts["compiler"]
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nowhere")
    assert shown(capsys, "pixel-8")["compiler"].startswith("missing: ANDROID_NDK_HOME=/nowhere: no ")


def test_targets_show__gpu__what_a_block_of_threads_has(capsys: pytest.CaptureFixture[str]) -> None:
    facts = shown(capsys, "rk3588-mali")
    assert facts["gpu"] == "opencl: 256 threads a block, 16 at once, 32 KiB shared, as slow as any"
    assert "vectors" not in facts


def test_targets_show__misspelt__exit_3_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "show", "rk3398"]) == 3
    out, err = capsys.readouterr()
    assert out == "" and err == "tvmpose: error: no target 'rk3398'; did you mean rk3399 or rk3588?\n"


def test_compile__misspelt_target__exit_3_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "blazepose-lite", "--target", "jetson-oriin"]) == 3
    assert "did you mean jetson-orin" in capsys.readouterr().err
