"""A Binance of the same seeded market, below the path ``/binance``: aggregate trades by websocket and by REST.

Every trade is a function of seed, symbol and id (:mod:`local.simulator.binance.tape`). Stream and REST read the same
tape; what goes wrong on the way is ordered at ``POST /_control/binance/faults``.

Sources of all shapes and limits: Binance's documents ``web-socket-streams.md``, ``rest-api.md`` and ``errors.md``, and
captured frames.
"""
