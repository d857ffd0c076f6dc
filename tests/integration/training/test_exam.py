"""The exam asks what training never saw, and marks what the judge sees."""

import numpy as np
import pytest

from tests.integration.training.pictures import drawn
from training.captions import held_out_phrasings, say, training_phrasings
from training.exam import mark, questions

pytestmark = pytest.mark.torch


def test_every_question_is_of_a_held_out_scene_in_a_held_out_phrasing() -> None:
    for question in questions(100):
        assert question.scene.is_held_out()
        assert question.prompt in {say(question.scene, phrasing) for phrasing in held_out_phrasings()}
        assert question.prompt not in {say(question.scene, phrasing) for phrasing in training_phrasings()}


def test_a_longer_exam_begins_with_the_shorter_one() -> None:
    assert questions(20) == questions(40)[:20]


def test_drawn_answers_are_all_right() -> None:
    asked = questions(40)
    score = mark(asked, drawn([question.scene for question in asked]))
    assert score.all_right == score.asked == 40
    assert set(score.right.values()) == {40}


def test_an_answer_that_is_right_in_part_counts_in_part() -> None:
    asked = questions(2)
    (first, _) = asked
    blank = np.zeros((128, 128, 3), dtype=np.uint8)
    score = mark(asked, [*drawn([first.scene]), blank])
    assert score.all_right == 1
    assert set(score.right.values()) == {1}
