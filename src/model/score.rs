//! The parts of a search score.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The parts of a search score. Each part includes its weight; their sum is the score. Parts that are 0 are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = Parts)]
pub struct ScoreParts {
    /// BM25 score, relative to the best of the search.
    #[serde(skip_serializing_if = "is_zero")]
    pub keyword: f64,
    /// Vector similarity to the query, scaled from the hundredth nearest text (0) to the nearest. 0 without vectors.
    #[serde(skip_serializing_if = "is_zero")]
    pub vector: f64,
    /// Score of the best memory that was drawn from the turn.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory: f64,
    /// Scores of the turns around it, up to two before and after.
    #[serde(skip_serializing_if = "is_zero")]
    pub neighbour: f64,
    /// Mean score of the two best turns of its session.
    #[serde(skip_serializing_if = "is_zero")]
    pub session: f64,
    /// Its date fits a date that the query names.
    #[serde(skip_serializing_if = "is_zero")]
    pub date: f64,
    /// Its speaker is the person whom the query names.
    #[serde(skip_serializing_if = "is_zero")]
    pub speaker: f64,
    /// It was said by a user: user messages score higher than answers.
    #[serde(skip_serializing_if = "is_zero")]
    pub role: f64,
    /// It states something: statements score higher than texts that only ask.
    #[serde(skip_serializing_if = "is_zero")]
    pub statement: f64,
}

impl ScoreParts {
    pub fn sum(&self) -> f64 {
        let of_text = self.keyword + self.vector + self.memory;
        let of_place = self.neighbour + self.session + self.date;
        of_text + of_place + self.speaker + self.role + self.statement
    }

    /// Rounds each part to four decimal places, for storage.
    pub fn rounded(self) -> Self {
        Self {
            keyword: rounded(self.keyword),
            vector: rounded(self.vector),
            memory: rounded(self.memory),
            neighbour: rounded(self.neighbour),
            session: rounded(self.session),
            date: rounded(self.date),
            speaker: rounded(self.speaker),
            role: rounded(self.role),
            statement: rounded(self.statement),
        }
    }
}

/// Rounds to four decimal places.
pub fn rounded(score: f64) -> f64 {
    (score * 1e4).round() / 1e4
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(part: &f64) -> bool {
    *part == 0.0
}
