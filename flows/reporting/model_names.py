"""Names of models as people read them."""


def readable(model: str) -> str:
    """A model's name with spaces: "random walk" for "random_walk"."""
    return model.replace("_", " ")


def with_article(model: str) -> str:
    """A model's name for a sentence: "the random walk", "the GRU"."""
    return f"the {readable(model)}"
