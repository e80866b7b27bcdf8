"""The devices that share the trials of one key: each takes the next group; one that fails is left out."""

import queue
import threading
from collections.abc import Callable, Sequence

from tvmpose.devices.device import Device
from tvmpose.errors import DeviceError
from tvmpose.tuning.measure import Measured

_FAILURES = 3  # in a row, and a device is left out


Job = Callable[[Device], Measured]
"""Measures a group on a device."""


class Crew:
    """One thread for each device. Measuring a list of jobs takes as long as the devices together need."""

    def __init__(self, devices: Sequence[Device], report: Callable[[str], None] = lambda text: None) -> None:
        self.devices = list(devices)
        self.out: dict[str, str] = {}  # devices that were left out, and why
        self.counts: dict[str, int] = {device.name: 0 for device in devices}  # groups that each has measured
        self._failures: dict[int, int] = {}
        self._report = report

    def measure(self, jobs: Sequence[Job]) -> list[Measured | str]:
        """Of each job what came of it, or why a device could not tell. Raises DeviceError where no device is left."""
        if not jobs:
            return []
        results: list[Measured | str | None] = [None] * len(jobs)
        waiting: queue.Queue[int] = queue.Queue()
        for index in range(len(jobs)):
            waiting.put(index)
        stopped: list[BaseException] = []
        threads = [
            threading.Thread(target=self._work, args=(device, jobs, waiting, results, stopped), daemon=True)
            for device in self.devices
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # so that Ctrl-C is heard
                thread.join(0.2)
        if stopped:
            raise stopped[0]
        if not self.devices:
            raise DeviceError("no device is left: " + "; ".join(f"{name}: {why}" for name, why in self.out.items()))
        return [result if result is not None else "not measured: its device was left out" for result in results]

    def close(self) -> None:
        for device in self.devices:
            device.close()

    def _work(
        self,
        device: Device,
        jobs: Sequence[Job],
        waiting: "queue.Queue[int]",
        results: list[Measured | str | None],
        stopped: list[BaseException],
    ) -> None:
        while not stopped:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[index] = jobs[index](device)
                self._failures[id(device)] = 0
                self.counts[device.name] = self.counts.get(device.name, 0) + 1
            except DeviceError as error:
                failures = self._failures[id(device)] = self._failures.get(id(device), 0) + 1
                waiting.put(index)  # for another, or another time
                if failures >= _FAILURES:
                    self.devices.remove(device)
                    self.out[device.name] = str(error)
                    self._report(f"left out after {failures} failures: {device.name}: {error}")
                    return
                self._report(f"{device.name}: {error}")
            except BaseException as error:  # noqa: BLE001
                # it is raised again by whoever waits
                stopped.append(error)
