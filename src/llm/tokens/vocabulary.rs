//! The tokens of cl100k, and their ranks.
//!
//! The list is a part of the binary: it takes no memory until it is used. Only an index over it is built, at first use.

use std::{hash::BuildHasher, sync::LazyLock};

use hashbrown::{DefaultHashBuilder, HashTable};

/// OpenAI's published list (MIT license), in the order of the ranks: the length of each token in a byte, then its bytes.
static LIST: &[u8] = include_bytes!("cl100k_base.bin");
static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::new);

pub(super) struct Vocabulary {
    index: HashTable<Place>,
    hasher: DefaultHashBuilder,
}

/// Where a token is in the list. The lower its rank, the lower its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

impl Vocabulary {
    pub(super) fn get() -> &'static Self {
        &VOCABULARY
    }

    fn new() -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut index = HashTable::with_capacity(places().count());
        for place in places() {
            index.insert_unique(hasher.hash_one(token(place)), place, |place| hasher.hash_one(token(*place)));
        }
        Self { index, hasher }
    }

    /// The place of a token; `None` if the bytes are none.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<Place> {
        self.index.find(self.hasher.hash_one(bytes), |place| token(*place) == bytes).copied()
    }
}

/// All tokens, in the order of their ranks.
pub(super) fn places() -> impl Iterator<Item = Place> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let place = next;
        next += 1 + usize::from(*LIST.get(place)?);
        u32::try_from(place).ok().map(Place)
    })
}

pub(super) fn token(Place(place): Place) -> &'static [u8] {
    let place = place as usize;
    &LIST[place + 1..][..usize::from(LIST[place])]
}
