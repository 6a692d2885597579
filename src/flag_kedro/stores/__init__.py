"""Where a run's data are kept when its machine is not: an object store, of which the data folder is a working copy."""
