"""Colours of pictures: readable on white and on black, told apart by colour-blind readers, the same everywhere."""

INK = "#6e7781"  # of axes and words
BLUE, ORANGE, GREEN, PURPLE, PINK = "#2f86c9", "#d9822b", "#2a9d76", "#a56cc1", "#c2607a"
COLOURS = {"gru": BLUE, "lstm": GREEN, "rnn": PURPLE, "mingru": ORANGE, "drift": "#9a8c2c", "random_walk": INK}


def colour_of(model: str) -> str:
    """The colour of a model or cell by its name, whatever its case; pink for a name that is nobody's."""
    return COLOURS.get(model.lower(), PINK)
