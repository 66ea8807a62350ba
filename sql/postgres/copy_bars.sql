-- Bring the larger candles. Identifiers: bars, columns.
COPY {bars} ({columns}) FROM STDIN (FORMAT csv);
