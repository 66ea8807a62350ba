"""Measurements of the two promises about speed: an hour closes cheaply, and one core records everything.

They print ratios against a naive program and against the floor of the tools, measured in the same run.
"""
