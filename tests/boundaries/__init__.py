"""What the tasks and the uploader talk to, interrupted at every point of a job, one after another.

Chance finds some moments (`tests/sim/`); here each has its turn, and afterwards the job is done again, undisturbed.
"""
