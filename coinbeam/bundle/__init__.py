"""The serving bundle: what readers outside of the warehouse read, one immutable version after each refresh.

::

    serving/current.json                                  which version readers take; written last
    serving/<version>/manifest.json                       every file of the version, with its digest
    serving/<version>/assets.arrow                        the asset ids; the place of one is its number everywhere
    serving/<version>/charts/usd/2026-01.arrow            a month: assets x days of price, market cap, volume, time
    serving/<version>/indicators/usd/2026-01.arrow        the same days: averages, volatilities, signals
    serving/<version>/intraday/usd/2026-01-02.arrow       a day: assets x snapshots
    serving/<version>/markets/usd/20260102T000000Z.parquet  all columns of a snapshot, the largest asset first
    serving/<version>/sparklines/usd.arrow                hourly prices of seven days, of the newest snapshot
    serving/<version>/status.json                         what `coinbeam status` showed when the version was made
    serving/<version>/tables/<table>.arrow                a small table as a whole

A version writes what changed and names the rest where an older version wrote it, so that one more hour costs the same
with ten days and with ten years behind it.
"""
