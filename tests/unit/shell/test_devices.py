"""What the shell tells of devices: here of the CPU, which every host has."""

import os

from kernel.protocol.ids import WorkerId
from kernel.shell.devices.host_devices import Devices


def test_the_cpu_is_a_device_with_the_hosts_memory():
    *_, cpu = Devices(dict).read()
    assert cpu.status.device == "cpu"
    assert 0 < cpu.status.free_bytes <= cpu.status.total_bytes


def test_what_a_worker_holds_is_its_own_memory():
    *_, cpu = Devices(lambda: {WorkerId("w1-1"): os.getpid()}).read()
    assert 1 << 20 < cpu.held[WorkerId("w1-1")] < cpu.status.total_bytes


def test_what_a_standby_holds_is_as_good_as_free():
    *_, without = Devices(dict).read()
    *_, cpu = Devices(dict, lambda: [os.getpid()] * 100).read()
    assert cpu.status.free_bytes > without.status.free_bytes
    assert cpu.status.free_bytes <= cpu.status.total_bytes


def test_a_worker_that_is_gone_is_left_out():
    *_, cpu = Devices(lambda: {WorkerId("w1-1"): 2**22 + 1}).read()
    assert cpu.held == {}
