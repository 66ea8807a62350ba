"""Records exchanges' candle streams: socket → spool → lake. Knows nothing of the hourly tasks."""
