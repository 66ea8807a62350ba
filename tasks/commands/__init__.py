"""What a person types: the `klines` command, its demo, its status page."""
