"""The Beam jobs: one thin entry module per job, pure columnar functions beside them, transforms that only wire."""

import gc

# A job makes hundreds of thousands of objects while it imports Beam, and no reference cycles while it works: looking
# for garbage as often as Python does by default costs a seventh of the start and a tenth of the work.
gc.set_threshold(100_000, 50, 50)
