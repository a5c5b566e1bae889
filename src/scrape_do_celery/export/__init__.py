"""The export of a run's pages to files. Rows, file names and manifests are pure; sinks and `exporter` do the I/O."""
