"""Training scenes and held-out scenes share nothing and together are everything."""

from training.scenes import Colour, Place, Scene, Shape, Size, held_out_scenes, scenes, training_scenes


def test_every_scene_is_either_trained_on_or_held_out() -> None:
    trained, held_out = set(training_scenes()), set(held_out_scenes())
    assert not trained & held_out
    assert trained | held_out == set(scenes())


def test_about_a_tenth_of_the_scenes_is_held_out() -> None:
    assert 0.08 < len(held_out_scenes()) / len(list(scenes())) < 0.12


def test_every_colour_is_trained_on_as_shape_and_as_background() -> None:
    assert {scene.colour for scene in training_scenes()} == set(Colour)
    assert {scene.background for scene in training_scenes()} == set(Colour)


def test_a_shape_never_has_its_backgrounds_colour() -> None:
    assert all(scene.colour is not scene.background for scene in scenes())


def test_the_held_out_scenes_never_change() -> None:
    # The figures in training/README.md hold for these; a change would put trained scenes into the exam.
    first = held_out_scenes()[0]
    assert first == Scene(Shape.CIRCLE, Colour.RED, Colour.GREEN, Place.RIGHT, Size.SMALL)
    assert len(held_out_scenes()) == 235
