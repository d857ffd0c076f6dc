"""What uv says more than a file of constraints has to."""

import pytest

from conf.environments.lock import Platform, without_cuda

GIVEN = "implementation_name == 'cpython' and platform_machine == 'x86_64' and sys_platform == 'linux'"


@pytest.mark.parametrize(
    ("line", "simple"),
    [
        (f"a==1 ; python_full_version < '3.15' and {GIVEN}  # via b\n", "a==1  # via b\n"),
        (
            f"a==1 ; python_full_version < '3.12' and {GIVEN}  # via b\n",
            "a==1 ; python_full_version < '3.12'  # via b\n",
        ),
        ("a==1 ; sys_platform == 'linux'  # via b\n", "a==1  # via b\n"),
        ("a==1 ; sys_platform == 'linux' and extra == 'x'  # via b\n", "a==1 ; extra == 'x'  # via b\n"),
        ("a==1  # via b, -c dev.txt, c\n", "a==1  # via b, c\n"),
        ("a==1  # via -c dev.txt, c\n", "a==1  # via c\n"),
        ("a==1  # via c, -c dev.txt\n", "a==1  # via c\n"),
    ],
)
def test_what_holds_for_every_pin_is_left_out(line: str, simple: str) -> None:
    assert Platform().simplify(line) == simple


def test_the_packages_of_cuda_are_those_that_torch_brings() -> None:
    pins = "cuda-x==1\nnvidia-cublas==2  # via x\nnvidia-ml-py==3\ntorch==4\ntriton==5\ntritonclient==6\n"
    assert without_cuda(pins) == "nvidia-ml-py==3\ntorch==4\ntritonclient==6\n"
