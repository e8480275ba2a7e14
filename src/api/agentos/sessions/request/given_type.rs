//! Session types in requests: case-insensitive, because clients know them as `SessionType.AGENT`.

use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer, value},
};

use crate::{api::extract::absent_if_empty, model::SessionType};

struct Given(SessionType);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?.to_ascii_lowercase();
        let of_name: Result<_, value::Error> = SessionType::deserialize(name.into_deserializer());
        of_name.map(Self).map_err(serde::de::Error::custom)
    }
}

/// An empty value counts as absent, as for other query parameters.
pub(crate) fn of_query<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SessionType>, D::Error> {
    absent_if_empty(deserializer).map(|given: Option<Given>| given.map(|given| given.0))
}

/// An empty value is refused: it may be an unset variable in the caller's code, and without it the filter would match
/// more.
pub(crate) fn of_body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SessionType>, D::Error> {
    Option::<Given>::deserialize(deserializer).map(|given| given.map(|given| given.0))
}

pub(crate) fn all_of_body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<SessionType>>, D::Error> {
    let all = Option::<Vec<Given>>::deserialize(deserializer)?;
    Ok(all.map(|all| all.into_iter().map(|given| given.0).collect()))
}
