"""The commands of `tidecast`."""
