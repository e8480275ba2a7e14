//! Enums that are stored as PostgreSQL enums, to which a newer build may have added labels. A row with an unknown label
//! stays readable, and is returned with that label. This build acts only on labels that it knows.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// An enum label that only a newer build knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NewerWord(&'static str);

impl NewerWord {
    /// Interns the label. This leaks memory, but only once per label that newer builds have added to their enums.
    pub fn keep(word: &str) -> Self {
        static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_default();
        if let Some(&known) = kept.get(word) {
            return Self(known);
        }
        let word: &'static str = Box::leak(word.to_owned().into_boxed_str());
        kept.insert(word);
        Self(word)
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// Gives an enum with a variant `Newer` its labels, for the wire (with an optional description) and for the PostgreSQL
/// enum of the given name.
macro_rules! words {
    ($type:ty, $postgres:literal, $description:expr, { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $type {
            /// The label on the wire and in the database.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Newer(word) => word.as_str(),
                }
            }

            /// Parses a label from the database.
            pub fn stored(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    newer => Self::Newer($crate::words::NewerWord::keep(newer)),
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl sqlx::Type<sqlx::Postgres> for $type {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                sqlx::postgres::PgTypeInfo::with_name($postgres)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $type {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                sqlx::postgres::PgTypeInfo::array_of($postgres)
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $type {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                <&str as sqlx::Encode<sqlx::Postgres>>::encode(self.as_str(), buffer)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $type {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                <&str as sqlx::Decode<sqlx::Postgres>>::decode(value).map(Self::stored)
            }
        }

        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some([$($word),+]))
                    .description($description)
                    .build()
                    .into()
            }
        }

        impl utoipa::ToSchema for $type {}
    };
}
pub(crate) use words;
