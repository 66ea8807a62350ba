"""Measurements of the promises about speed that stand in docs/performance.md, a program each.

They print ratios against a naive program and against the floor of the tools, measured in the same run.
"""
