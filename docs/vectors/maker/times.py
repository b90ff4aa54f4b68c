"""The moment at which most vectors take place, and spans, in milliseconds."""

NOW = 1_750_000_000_000
SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
