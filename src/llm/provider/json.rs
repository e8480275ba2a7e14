//! Lenient parsing of providers' JSON: unknown fields are skipped without being buffered, and a field of an unexpected
//! type counts as absent.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::wire::Fault;

/// Maximum length of a list: an element of two bytes takes hundreds in memory.
const LONGEST_LIST: usize = 8_192;

pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(text).map_err(|_| Fault::Unreadable)
}

/// For `deserialize_with`: a value that is not a `T` becomes the default.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    let raw = Option::<&RawValue>::deserialize(from)?;
    Ok(raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default())
}

/// For `deserialize_with`: a list of limited length; null becomes an empty list.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                if list.len() == LONGEST_LIST {
                    return Err(A::Error::custom("the list is too long"));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    from.deserialize_any(List(PhantomData))
}

/// The raw text of a JSON value; empty for null.
pub(super) fn text(raw: Option<&RawValue>) -> &str {
    raw.map(RawValue::get).filter(|text| *text != "null").unwrap_or_default()
}
