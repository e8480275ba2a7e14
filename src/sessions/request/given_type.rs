//! Types of sessions as callers write them: in any case, because clients know them as `SessionType.AGENT`.

use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer, value},
};

use crate::{http::extract::absent_if_empty, sessions::SessionType};

struct Given(SessionType);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?.to_ascii_lowercase();
        let of_name: Result<_, value::Error> = SessionType::deserialize(name.into_deserializer());
        of_name.map(Self).map_err(serde::de::Error::custom)
    }
}

/// Without a value it counts as left out, as other parameters of a query do.
pub(super) fn of_query<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SessionType>, D::Error> {
    absent_if_empty(deserializer).map(|given: Option<Given>| given.map(|given| given.0))
}

/// An empty one is refused: it may be a variable that was left empty, and the filter would find more.
pub(super) fn of_body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SessionType>, D::Error> {
    Option::<Given>::deserialize(deserializer).map(|given| given.map(|given| given.0))
}

pub(super) fn all_of_body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<SessionType>>, D::Error> {
    let all = Option::<Vec<Given>>::deserialize(deserializer)?;
    Ok(all.map(|all| all.into_iter().map(|given| given.0).collect()))
}
