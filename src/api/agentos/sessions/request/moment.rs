//! Times in requests: Unix seconds or RFC 3339.

use std::fmt;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// A time with the precision that was given. One without a fraction means the whole second, because responses show
/// times to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(DateTime<Utc>);

impl Moment {
    pub(crate) fn begin(self) -> DateTime<Utc> {
        self.0
    }

    pub(crate) fn end(self) -> DateTime<Utc> {
        if self.0.nanosecond() == 0 { self.0 + TimeDelta::microseconds(999_999) } else { self.0 }
    }

    fn of_unix(seconds: i64) -> Option<Self> {
        DateTime::from_timestamp(seconds, 0).and_then(Self::of)
    }

    fn of_text(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse() {
            return Self::of_unix(seconds);
        }
        // An unescaped `+` in a query arrives as a space.
        let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok()?;
        Self::of(time.to_utc())
    }

    fn of(time: DateTime<Utc>) -> Option<Self> {
        (0..=253_402_300_799).contains(&time.timestamp()).then_some(Self(time))
    }
}

/// A time in a query, for the `OpenAPI` contract.
pub(crate) fn schema() -> Object {
    let pattern =
        "^([0-9]{1,11}|20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}Z)?$";
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples(["2026-11-22T10:05:20Z"]).build()
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Given;

        impl Visitor<'_> for Given {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Unix seconds, or a time such as 2026-11-22T10:05:20Z")
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Moment, E> {
                Moment::of_unix(seconds).ok_or_else(|| refused(&seconds.to_string()))
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Moment, E> {
                i64::try_from(seconds).ok().and_then(Moment::of_unix).ok_or_else(|| refused(&seconds.to_string()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                Moment::of_text(text).ok_or_else(|| refused(text))
            }
        }

        deserializer.deserialize_any(Given)
    }
}

fn refused<E: Error>(given: &str) -> E {
    let given = crate::text::truncate(given, 60);
    E::custom(format_args!(
        "is \"{given}\"; give Unix seconds, or RFC 3339 such as 2026-11-22T10:05:20Z, of a year from 1970 to 9999"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(json: &str) -> Option<Moment> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn a_time_is_unix_seconds_or_rfc_3339() {
        let expected = moment("1795341920").unwrap();
        for same in [
            r#""1795341920""#,
            r#""2026-11-22T10:05:20Z""#,
            r#""2026-11-22T12:05:20+02:00""#,
            r#""2026-11-22T12:05:20 02:00""#,
        ] {
            assert_eq!(moment(same), Some(expected), "{same}");
        }
        for none in ["-1", "253402300800", "1.5", r#""yesterday""#, r#""2026-11-22""#, r#""""#, "null", "true"] {
            assert_eq!(moment(none), None, "{none}");
        }
    }

    #[test]
    fn what_was_given_to_the_second_is_the_whole_second() {
        let second = moment("1000").unwrap();
        assert_eq!((second.end() - second.begin()).num_microseconds(), Some(999_999));
        let exact = moment(r#""1970-01-01T00:16:40.5Z""#).unwrap();
        assert_eq!(exact.begin(), exact.end());
    }
}
