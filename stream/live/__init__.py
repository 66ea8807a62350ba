"""From a socket to lines: connections, what their messages mean, and the feeds that keep them up."""
