"""Parts of error messages."""

import pytest

from tidecast.features.error_text import ended


@pytest.mark.parametrize(
    ("text", "expected"),
    [("no such file", "no such file."), ("Did you mean 'a'?", "Did you mean 'a'?"), ("It failed.\n", "It failed.")],
)
def test_a_sentence_ends_with_one_mark(text, expected):
    """Once, another library's question was followed by a full stop."""
    assert ended(text) == expected
