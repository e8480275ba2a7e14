//! Cursors: the position where a page ended, as an opaque string.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::model::Error;

const MAX_BYTES: usize = 8 * 1024;
const CHECK_BYTES: usize = 8;

/// Encodes and decodes the cursors of one list. A list is defined by its kind, its user, its filters and its order.
///
/// A cursor contains a position, and a checksum over the position and the list: a changed cursor, or one of another
/// list, is refused. It grants no access: every statement filters by the caller's scope, wherever it starts.
#[derive(Debug)]
pub struct Cursor {
    list: Vec<u8>,
}

impl Cursor {
    /// `list` is everything that determines the rows and their order.
    pub fn of(list: &impl Serialize) -> Self {
        Self { list: serde_json::to_vec(list).unwrap_or_default() }
    }

    /// The cursor to continue after `place`.
    pub fn write(&self, place: &impl Serialize) -> String {
        let place = serde_json::to_vec(place).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([self.checksum(&place).as_slice(), &place].concat())
    }

    /// The position in `cursor`, from [`Cursor::write`]. `parameter` is the request parameter that an error names.
    pub fn read<T: DeserializeOwned>(&self, parameter: &str, cursor: &str) -> Result<T, Error> {
        let bytes = Some(cursor)
            .filter(|cursor| cursor.len() <= MAX_BYTES)
            .and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok())
            .unwrap_or_default();
        bytes
            .split_at_checked(CHECK_BYTES)
            .filter(|(checksum, place)| *checksum == self.checksum(place))
            .and_then(|(_, place)| serde_json::from_slice(place).ok())
            .ok_or_else(|| {
                let detail = "is no cursor of this list; give one that the same request, with the same filters and \
                              order, was answered with, or leave it out to begin anew";
                Error::invalid(parameter, detail)
            })
    }

    fn checksum(&self, place: &[u8]) -> [u8; CHECK_BYTES] {
        let mut hash = Sha256::new();
        hash.update((self.list.len() as u64).to_be_bytes());
        hash.update(&self.list);
        hash.update(place);
        let mut checksum = [0; CHECK_BYTES];
        checksum.copy_from_slice(&hash.finalize()[..CHECK_BYTES]);
        checksum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Place = (i64, String);

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_place_in_its_own_list_alone(at: i64, id: String, user: String, other: String) {
            prop_assume!(user != other);
            let cursor = Cursor::of(&user).write(&(at, &id));
            prop_assert_eq!(Cursor::of(&user).read::<Place>("cursor", &cursor).unwrap(), (at, id));
            prop_assert!(Cursor::of(&other).read::<Place>("cursor", &cursor).is_err());
        }

        #[test]
        fn what_is_no_cursor_is_refused(text: String, bytes: Vec<u8>) {
            let list = Cursor::of(&"list");
            prop_assert!(list.read::<Place>("cursor", &text).is_err());
            prop_assert!(list.read::<Place>("cursor", &URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }

        #[test]
        fn a_cursor_with_a_changed_character_is_refused(at: i64, id: String, index: prop::sample::Index) {
            let list = Cursor::of(&"list");
            let cursor = list.write(&(at, id));
            let index = index.index(cursor.len());
            let mut changed = cursor.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            prop_assert!(list.read::<Place>("cursor", &changed).is_err());
        }
    }
}
