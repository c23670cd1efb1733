"""Number of threads that numerical libraries use while a model works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread(linear_algebra: bool = False) -> Iterator[None]:
    """Run the body with torch on one thread, then restore the thread count; also a decorator.

    More threads would wait for each other in every step of a recurrent network, and results would depend on the
    machine's load.

    Parameters
    ----------
    linear_algebra : bool, default=False
        Also limit numpy's linear algebra to one thread, so that it sums in the same order everywhere. This takes some
        milliseconds, so use it for whole fits.
    """
    import torch  # takes seconds to load, and only models need it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ExitStack() as limits:
            if linear_algebra:
                limits.enter_context(threadpool_limits(limits=1))
            yield
    finally:
        torch.set_num_threads(before)
