"""Names of models as people read them."""


def readable(model: str) -> str:
    """A model's name with spaces: "random walk" for "random_walk".

    Parameters
    ----------
    model : str
        As tables have it.
    """
    return model.replace("_", " ")


def with_article(model: str) -> str:
    """A model's name for a sentence: "the random walk", "the GRU".

    Parameters
    ----------
    model : str
        As tables have it.
    """
    return f"the {readable(model)}"
