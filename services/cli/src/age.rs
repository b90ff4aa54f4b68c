//! Times as people ask for them: how long ago.

use std::time::Duration;

use shared::clock::Time;

/// `4s ago`. The plane's clock may run ahead of ours; what it calls the future is now.
pub fn ago(at: Time, now: Time) -> String {
    format!("{} ago", span(at.until(now)))
}

/// `4s`: the largest unit of which there is a whole one, rounded down.
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        secs @ 0..60 => format!("{secs}s"),
        secs @ 60..3_600 => format!("{}m", secs / 60),
        secs @ 3_600..86_400 => format!("{}h", secs / 3_600),
        secs => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_whole_unit() {
        let now = Time(1_000_000_000_000);
        for (secs, expected) in [
            (-5, "0s ago"),
            (0, "0s ago"),
            (4, "4s ago"),
            (59, "59s ago"),
            (60, "1m ago"),
            (3_599, "59m ago"),
            (3_600, "1h ago"),
            (86_399, "23h ago"),
            (86_400, "1d ago"),
            (864_000, "10d ago"),
        ] {
            assert_eq!(ago(Time(now.0 - secs * 1_000), now), expected);
        }
    }
}
