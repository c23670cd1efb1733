"""A user's source: one small class in its own package, found by its entry point."""

import sys
from datetime import date

import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.sources import Fetched, open_source

OWN = """
from dataclasses import dataclass
import polars as pl
from tidecast.flows.sources import Fetched

@dataclass
class Vault:
    address: str
    settings: object
    name = "the vault"

    def fetch(self, since=None):
        rows = pl.DataFrame({"series_id": ["A"], "time": ["2024-01-02"], "close": [1.0], "Dividends": [0.5]})
        return Fetched(rows)

def broken(address, settings):
    raise RuntimeError("no key in the drawer")

def nothing(address, settings):
    return object()
"""
POINTS = "vault = own_vault:Vault\nbroken = own_vault:broken\nnothing = own_vault:nothing\ngone = own_vault:Gone\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package as pip would install it: a module and its metadata."""

    def install(name="own-vault", points=POINTS):
        site = tmp_path / name
        metadata = site / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / "own_vault.py").write_text(OWN)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[tidecast.sources]\n{points}")
        monkeypatch.syspath_prepend(str(site))

    yield install
    sys.modules.pop("own_vault", None)


def test_a_small_class_in_a_package_of_its_own_is_a_source(package):
    package()
    source = open_source(Settings(source="vault://prices/${WHICH}"))
    assert source.address == "vault://prices/${WHICH}"  # as written: variables are looked up on connecting
    fetched = source.fetch(date(2024, 1, 1))
    assert fetched.rows.columns == ["series_id", "time", "close", "dividend"]
    assert fetched.layout == "long"
    assert fetched.messages == ()
    assert fetched.originals([0]) == ['{"series_id": "A", "time": "2024-01-02", "close": "1.0", "Dividends": "0.5"}']


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("vualt://x", r"must be known, found vualt://\. Did you mean vault://\?"),
        ("zzz://x", r"found zzz://\. Known by installed packages: broken://, gone://, nothing://, vault://\."),
        ("broken://x", r"own_vault:broken of own-vault gave RuntimeError: no key in the drawer\. Fix or uninstall"),
        ("gone://x", r"own_vault:Gone of own-vault gave AttributeError: .*Fix or uninstall"),
        ("nothing://x", r"must have a name and a method fetch.* gave a object without"),
    ],
)
def test_an_entry_point_that_is_wrong_or_broken_is_one_clear_error(package, source, message):
    package()
    with pytest.raises(SourceError, match=message) as error:
        open_source(Settings(source=source))
    assert "\n" not in str(error.value)


def test_two_packages_with_one_scheme_are_refused_and_both_named(package):
    package()
    package("other-vault", "vault = own_vault:Vault\n")
    with pytest.raises(SourceError, match=r"Only one package may add vault://, found .*own-vault.*Uninstall"):
        open_source(Settings(source="vault://x"))


def test_rows_are_found_by_name_whatever_their_case_and_spelling():
    rows = {"series_id": ["A"], "time": ["t"], "close": [1.0], "Volume": [1], "Stock Splits": [2.0], "other": [0]}
    fetched = Fetched(pl.DataFrame(rows))
    assert fetched.rows.columns == ["series_id", "time", "close", "volume", "split_ratio"]


def test_rows_that_lack_a_column_or_do_not_match_their_originals_are_refused():
    rows = pl.DataFrame({"series_id": ["A"], "time": ["t"], "close": [1.0]})
    with pytest.raises(SourceError, match="must have the columns series_id, time, close, found 'series_id', 'time'"):
        Fetched(rows.drop("close"))
    with pytest.raises(SourceError, match=r"raw must be the source's rows .* found 0 of them for 1 row"):
        Fetched(rows, rows.clear())
