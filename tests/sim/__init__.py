"""A world on virtual time: an event loop whose clock jumps to the next thing to do, and a network in memory.

Nothing in it waits for the machine, so that its pace cannot change an outcome.
"""
