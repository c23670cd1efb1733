"""The TARGET calendar, which exchange_calendars does not have."""

from __future__ import annotations

from datetime import time
from zoneinfo import ZoneInfo

import pandas as pd
from exchange_calendars import ExchangeCalendar
from exchange_calendars.common_holidays import european_labour_day, new_years_day
from exchange_calendars.exchange_calendar import HolidayCalendar
from pandas.tseries.holiday import EasterMonday, GoodFriday, Holiday


class TargetCalendar(ExchangeCalendar):
    """Days on which the euro's payment system is open and the ECB publishes its reference rates.

    Closed on weekends, 1 January, Good Friday, Easter Monday, 1 May, 25 and 26 December (ECB press release of
    14 December 2000, which fixed the list from 2002 on). In 1999 the system was open at Easter. It also closed on the
    last days of 1999 and 2001. The rates are fixed at 14:15 and published around 16:00 Central European time. A session
    closes at 16:00 here, because its rates are not known before. (The payment system itself closes at 18:00.)
    """

    name = "TARGET"
    tz = ZoneInfo("Europe/Berlin")
    open_times = ((None, time(7)),)
    close_times = ((None, time(16)),)

    @property
    def regular_holidays(self) -> HolidayCalendar:
        """The holidays that follow a rule."""
        return HolidayCalendar(
            [
                new_years_day(),
                Holiday("Good Friday", month=1, day=1, offset=GoodFriday.offset, start_date="2000-01-01"),
                Holiday("Easter Monday", month=1, day=1, offset=EasterMonday.offset, start_date="2000-01-01"),
                european_labour_day(),
                Holiday("Christmas", month=12, day=25),
                Holiday("Boxing Day", month=12, day=26),
            ]
        )

    @property
    def adhoc_holidays(self) -> list[pd.Timestamp]:
        """Two closings around the changes to the euro."""
        return [pd.Timestamp("1999-12-31"), pd.Timestamp("2001-12-31")]
