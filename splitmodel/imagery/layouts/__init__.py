"""How imagery lies on disk: folders, manifests, Parquet, data sets of the hub."""
