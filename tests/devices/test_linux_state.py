"""What Linux says of a board, from files."""

from pathlib import Path

from tvmpose.devices.linux_state import clock_limit, describe


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_state__big_and_little_cores_and_sensors__the_fastest_and_the_hottest(tmp_path: Path) -> None:
    for cpu, now, allowed, most in ((0, 600000, 1500000, 1800000), (4, 1200000, 2000000, 2400000)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        folder.mkdir(parents=True)
        for name, khz in (("scaling_cur_freq", now), ("scaling_max_freq", allowed), ("cpuinfo_max_freq", most)):
            (folder / name).write_text(f"{khz}\n")
    for zone, value in enumerate(("48123\n", "61000\n", "-274000\n", "1000000000\n", "nonsense\n")):
        write(tmp_path, **{f"sys__class__thermal__thermal_zone{zone}__temp": value})
    write(tmp_path, proc__loadavg="0.25 0.50 0.75 1/200 4242\n")
    state = describe(clock_limit(tmp_path), tmp_path)
    assert (state["load"], state["clock"], state["clock_limit"], state["temperature"]) == (0.25, 1200.0, 2000.0, 61.0)


def test_state__machine_that_says_nothing__none(tmp_path: Path) -> None:
    state = describe(clock_limit(tmp_path), tmp_path)
    assert [state[name] for name in ("load", "clock", "clock_limit", "temperature")] == [None] * 4


def test_clock_limit__no_policy__of_the_hardware(tmp_path: Path) -> None:
    write(tmp_path, sys__devices__system__cpu__cpu0__cpufreq__cpuinfo_max_freq="1500000\n")
    assert clock_limit(tmp_path) == 1500.0
