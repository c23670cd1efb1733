"""What a run reports of steps that failed."""

from datetime import date
from types import SimpleNamespace

import pytest

from tidecast.flows.errors import TidecastError
from tidecast.flows.steps.day import Incomplete, Problems


def test_what_to_do_about_a_lost_model_was_once_cut_off_the_error():
    problems = Problems()
    with problems.noted("forecasting with the champion"):
        raise TidecastError(f"The model must be whole, but {'x' * 400}. Train anew: tidecast train --anew")
    said = str(Incomplete(SimpleNamespace(as_of=date(2024, 1, 2), problems=tuple(problems))))
    assert said.endswith("Train anew: tidecast train --anew. Fix it, then run again.")


@pytest.mark.parametrize("length", [10, 400])
def test_an_error_of_another_library_is_cut(length):
    problems = Problems()
    with problems.noted("scoring"):
        raise ValueError("x" * length)
    assert len(problems[0]) < 330


@pytest.mark.parametrize("text", ["What?", "Yes.", "Oh!", "half"])
def test_a_sentence_was_once_given_a_second_full_stop(text):
    said = str(Incomplete(SimpleNamespace(as_of=date(2024, 1, 2), problems=(text,))))
    assert f"but {text if text != 'half' else 'half.'} Fix it" in said
