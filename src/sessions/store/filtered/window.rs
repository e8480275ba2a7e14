//! Where the page of a search lies in time.
//!
//! The index on words finds the hits of all times. Reading them, one by one, is what takes long; but a page of the newest
//! sessions needs only some. So a search with many hits is first limited to the sessions of some time, and an index on
//! time (BRIN) leaves the others out before they are read. If these do not fill the page, more time is taken.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::{Part, conditions::Selection};
use crate::{
    model::paging::SortOrder,
    sessions::filter::{SessionFilter, Sort, SortBy, SortKey},
};

/// A window has room for this many times the sessions that are asked for, if they are spread evenly over the time.
const SPARE: f64 = 4.0;
/// By how much a window grows that has not filled the page.
const GROWTH: f64 = 4.0;
/// From this share of all time on, all of it is read.
const NEARLY_ALL: f64 = 0.5;

/// Times of sessions' creation: from where the list begins, in its order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    begin: DateTime<Utc>,
    order: SortOrder,
    /// When the tenant's first and last sessions were created.
    whole: (DateTime<Utc>, DateTime<Utc>),
    share: f64,
}

impl Window {
    /// `None` if all hits are to be read.
    pub(super) async fn of(
        db: &PgPool,
        selection: Selection<'_>,
        sort: Sort,
        (part, limit): (&Part, i64),
    ) -> Result<Option<Self>, sqlx::Error> {
        let Some(words) = selection.words.filter(|words| words.rare.is_some()) else { return Ok(None) };
        if sort.by != SortBy::CreatedAt || selection.is_of_some() {
            return Ok(None);
        }
        let offset = if let Part::From { offset } = part { *offset } else { 0 };
        #[expect(clippy::cast_precision_loss, reason = "a number of rows, of which a share is made")]
        let share = SPARE * (offset + limit) as f64 / words.expected.max(1.0);
        if share >= NEARLY_ALL {
            return Ok(None);
        }
        let times = sqlx::query!(
            "select min(created_at) as first, max(created_at) as last from session_labels where tenant_id = $1",
            selection.scope.tenant(),
        );
        let times = times.fetch_one(db).await?;
        let Some((first, last)) = times.first.zip(times.last) else { return Ok(None) };
        let mut from = selection.filter.created_from.map_or(first, |from| from.max(first));
        let mut until = selection.filter.created_until.map_or(last, |until| until.min(last));
        if let Part::After(place) = part
            && let SortKey::Time(micros) = place.key
            && let Some(time) = DateTime::from_timestamp_micros(micros)
        {
            match sort.order {
                SortOrder::Asc => from = from.max(time),
                SortOrder::Desc => until = until.min(time),
            }
        }
        let begin = if sort.order == SortOrder::Asc { from } else { until };
        Ok(Some(Self { begin, order: sort.order, whole: (first, last), share }))
    }

    /// The filter, for the sessions of this window only.
    pub(super) fn narrowed(self, filter: &SessionFilter) -> SessionFilter {
        let mut filter = filter.clone();
        let (first, last) = self.whole;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share of some years")]
        let length = ((last - first).num_milliseconds() as f64 * self.share) as i64;
        let length = TimeDelta::milliseconds(length);
        match self.order {
            SortOrder::Asc => {
                let end = self.begin.checked_add_signed(length).map_or(last, |end| end.min(last));
                filter.created_until = Some(filter.created_until.map_or(end, |until| until.min(end)));
            }
            SortOrder::Desc => {
                let end = self.begin.checked_sub_signed(length).map_or(first, |end| end.max(first));
                filter.created_from = Some(filter.created_from.map_or(end, |from| from.max(end)));
            }
        }
        filter
    }

    /// A longer one; `None` if it would have nearly all of the time.
    pub(super) fn widened(self) -> Option<Self> {
        let share = self.share * GROWTH;
        (share < NEARLY_ALL).then_some(Self { share, ..self })
    }
}
