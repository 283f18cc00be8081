"""The text that the demo model learns: templates written here, filled in at random."""
