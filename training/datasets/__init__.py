"""Readers and writers of the public data sets' layouts, and what checks them."""
