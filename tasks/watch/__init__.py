"""What the one on call sees: how recorder, hours and stores are, and what needs a person."""
