"""Settings are frozen, and each has words for what it must be."""

import pytest

from tidecast.flows.config.settings import KINDS, Settings


def test_every_setting_has_a_text_for_what_it_must_be():
    assert set(KINDS) == set(Settings.model_fields) - {"gate", "rules"}


def test_settings_are_frozen_and_their_digest_follows_each_value():
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.horizon = 3
    assert settings.digest == Settings().digest != Settings(lookback=63).digest
