"""Answers that are kept: a query's events as the objects of a dataset of their own."""
