"""The report of a publication: one HTML file that opens from disk and asks nothing of anybody."""
