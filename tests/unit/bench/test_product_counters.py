"""What processes have used is read from lines of the kernel."""

from bench.product.counters import Stat, Usage, below, own_bytes


def line(pid: int, parent: int, faults: int = 0, user: int = 0, system: int = 0, name: str = "python") -> str:
    """As in proc_pid_stat(5): pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt
    cmajflt utime stime, and more."""
    return f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 {faults} 77 3 4 {user} {system} 55 66 20 0 2 0 99"


def test_faults_and_ticks_are_those_of_the_process_not_of_its_children() -> None:
    assert Stat.parsed(line(12, 7, faults=900, user=31, system=4)) == Stat(12, 7, 900, 35)


def test_a_program_may_have_brackets_and_blanks_in_its_name() -> None:
    assert Stat.parsed(line(12, 7, faults=5, name="a) S 99 (b")) == Stat(12, 7, 5, 0)


def test_a_family_is_a_process_and_all_below_it() -> None:
    everybody = [Stat.parsed(line(pid, parent)) for pid, parent in ((9, 1), (4, 9), (5, 4), (6, 1), (7, 6))]
    assert [stat.pid for stat in below(9, everybody)] == [9, 4, 5]


def test_a_family_of_which_nobody_is_left_is_empty() -> None:
    assert below(3, [Stat.parsed(line(9, 1))]) == []


def test_usage_between_two_moments_is_their_difference() -> None:
    assert Usage(5.0, 120) - Usage(2.0, 100) == Usage(3.0, 20)


def test_memory_of_its_own_is_what_no_file_has() -> None:
    status = "Name:\tpython\nVmRSS:\t  900 kB\nRssAnon:\t  700 kB\nRssFile:\t  200 kB\n"
    assert own_bytes(status) == 700 * 1024


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert own_bytes("") == 0
