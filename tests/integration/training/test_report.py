"""The README's tables say what was measured, and stand between the marks however often they are written."""

import pytest

from training.effects import Effect
from training.exam import Score
from training.report import BEGIN, END, effect_table, family_table, insert
from training.speed import Speed

pytestmark = pytest.mark.torch

SCORE = Score(400, {"shape": 380, "colour": 399, "background": 400, "place": 396, "size": 390}, all_right=370)


def test_every_attribute_stands_beside_its_goal() -> None:
    table = family_table({"sd": SCORE}, {"sd": Speed(0.9, 800 * 2**20)})
    assert "| the background's colour | 97% | 100.0% |" in table
    assert "| shape | 90% | 95.0% |" in table
    assert "| all five | 80% | 92.5% |" in table
    assert "0.90 s" in table
    assert "800 MiB" in table


def test_an_effect_without_weight_says_nothing_of_zero() -> None:
    table = effect_table([Effect("lora", 100, 97, 1, True), Effect("vae", 100, 100, 0)])
    assert "| lora | 97.0% | 90% | 1.0% | identical |" in table
    assert "| vae | 100.0% | 90% | 0.0% |  |" in table


def test_tables_replace_the_tables_before() -> None:
    text = f"# Title\n\n{BEGIN}old{END}\nThe end.\n"
    once = insert(text, ["| new |\n"])
    assert once == insert(once, ["| new |\n"]) == f"# Title\n\n{BEGIN}\n| new |\n\n{END}\nThe end.\n"
