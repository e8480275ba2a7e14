//! When to retry a failed call, and how long to wait before that.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, Utc};

use super::ErrorKind;

/// Maximum delay between two calls, even if the provider asks for more: someone is waiting for the answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Whether to retry with the same model. Not after a timeout, which has already cost the caller the whole limit.
pub(super) fn is_worth_repeating(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Unreadable)
}

/// The delays before each of `max_retries` retries: exponential backoff (doubling) with jitter, so that callers who
/// failed together do not retry together.
pub(super) fn pauses(max_retries: u32) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(max_retries as usize)
        .with_jitter()
        .build()
}

/// The delay that the provider asks for replaces our own, up to the limit.
pub(super) fn pause(own: Duration, asked_for: Option<Duration>) -> Duration {
    asked_for.unwrap_or(own).min(LONGEST_PAUSE)
}

/// Parses `Retry-After`: a number of seconds, or an HTTP date (RFC 9110, section 10.2.3). A past date means now.
pub(super) fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parse_retry_after("7", now()), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after(" 0.5 ", now()), Some(Duration::from_millis(500)));
        assert_eq!(parse_retry_after("Sun, 01 Mar 2026 12:00:09 GMT", now()), Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_date_in_the_past_means_now() {
        assert_eq!(parse_retry_after("Sun, 01 Mar 2026 11:00:00 GMT", now()), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_no_wish() {
        for value in ["", "soon", "-1", "NaN", "inf", "1e300", "Sun, 99 Mar 2026"] {
            assert_eq!(parse_retry_after(value, now()), None, "{value}");
        }
    }

    #[test]
    fn the_providers_wish_replaces_our_pause_but_is_capped() {
        let own = Duration::from_millis(300);
        assert_eq!(pause(own, None), own);
        assert_eq!(pause(own, Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(pause(own, Some(Duration::from_hours(1))), LONGEST_PAUSE);
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pauses(0).count(), 0);
        let pauses: Vec<Duration> = pauses(4).collect();
        assert_eq!(pauses.len(), 4);
        assert!(pauses[3] >= FIRST_PAUSE * 8, "{pauses:?}");
    }

    #[test]
    fn a_refusal_and_a_timeout_are_not_repeated() {
        assert!(!is_worth_repeating(ErrorKind::Refused));
        assert!(!is_worth_repeating(ErrorKind::TimedOut));
        assert!(is_worth_repeating(ErrorKind::Unreadable));
    }
}
