"""A server of the user's that goes away for a while: one line is said, and the schedule goes on."""

import asyncio

import httpx
import pytest

from tidecast.flows.scheduling.outages import ServerLostError, is_outage, run_until_it_ends, say_outages_in_one_line


class Runner:
    """A runner that loses its server, and then waits for events that nobody sends, as Prefect's does."""

    started = stopping = False

    def __init__(self, hangs=True):
        self.hangs = hangs

    async def start(self):
        self.started = True
        await asyncio.sleep(0.03)
        self.started = False
        if self.hangs:
            await asyncio.Event().wait()
        raise RuntimeError("Service exceeded error threshold.")


def test_a_schedule_once_hung_for_good_after_an_outage():
    with pytest.raises(ServerLostError) as lost:
        asyncio.run(asyncio.wait_for(run_until_it_ends(Runner(), look_seconds=0.01), 20))
    assert is_outage(lost.value)


def test_a_runner_that_is_stopped_may_take_its_time():
    class Stopped(Runner):
        stopping = True

        async def start(self):
            await asyncio.sleep(0.2)

    asyncio.run(run_until_it_ends(Stopped(), look_seconds=0.01))


def test_an_outage_is_told_from_another_error():
    """Once, an outage that was over when it was noticed ended the schedule."""
    with pytest.raises(RuntimeError, match="threshold") as given_up:
        asyncio.run(run_until_it_ends(Runner(hangs=False), look_seconds=0.01))
    assert is_outage(ExceptionGroup("", [ExceptionGroup("", [given_up.value])]))
    assert is_outage(httpx.ConnectError("All connection attempts failed"))
    assert not is_outage(ExceptionGroup("", [ValueError("no such deployment")]))


def test_an_outage_once_printed_eighty_lines_of_traceback(capsys, caplog):
    from prefect.runner import _scheduled_run_poller as poller

    async def nobody_answers():
        raise httpx.ConnectError("All connection attempts failed")

    say_outages_in_one_line()
    say_outages_in_one_line()  # a schedule that goes on after an outage
    with pytest.raises(RuntimeError, match="threshold") as given_up, caplog.at_level("DEBUG", "tidecast"):
        asyncio.run(poller.critical_service_loop(workload=nobody_answers, interval=0.0))
    assert is_outage(given_up.value)
    assert capsys.readouterr() == ("", "")
    assert "All connection attempts failed" in caplog.text
