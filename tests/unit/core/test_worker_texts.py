"""Texts of workers: how much is kept, and what of it nobody's terminal may get."""

from kernel.core.validation.worker_texts import MAX_TEXT, cut


def test_characters_that_command_a_terminal_or_turn_the_text_around_are_replaced() -> None:
    assert cut("a\x1b[31mred\x07 \x9b2J\u202egnp.exe\u2066 end\0") == "a?[31mred? ?2J?gnp.exe? end"


def test_lines_and_letters_of_every_language_stay() -> None:
    text = "zwei\nZeilen\tGr\u00f6\u00dfe \u65e5\u672c\u8a9e \u0639\u0631\u0628\u064a"
    assert cut(text) == text
    assert len(cut("x" * (MAX_TEXT + 1))) == MAX_TEXT
