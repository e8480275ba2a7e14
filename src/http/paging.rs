//! Pages of a list: by number, as the wire has them, and by cursor, which costs the same however deep the page is.

mod cursor;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::cursor::Cursor;
use super::Problem;

pub const MAX_LIMIT: u32 = 100;

/// Counting ends here: a total of a million rows costs more than the page that it stands beside.
pub const MAX_TOTAL: i64 = 10_000;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub meta: PageMeta,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PageMeta {
    /// Absent where a cursor was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    pub limit: u32,
    /// Absent where a cursor was given, and with `include_total=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_pages: Option<i64>,
    /// As `total_pages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_count: Option<i64>,
    /// There are more than `total_count`: counting ended there. Pages and cursors go on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_capped: bool,
    /// Whether something comes after this page.
    pub has_more: bool,
    /// Give it as `cursor`, with the same filters and order, for what comes after this page. Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Milliseconds that the search took.
    pub search_time_ms: f64,
}

impl PageMeta {
    /// Of a page that a cursor led to.
    pub fn after_cursor(limit: u32, next_cursor: Option<String>, search_time: Duration) -> Self {
        Self {
            page: None,
            limit,
            total_pages: None,
            total_count: None,
            total_is_capped: false,
            has_more: next_cursor.is_some(),
            next_cursor,
            search_time_ms: milliseconds(search_time),
        }
    }
}

/// Which page, once it has been checked.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    page: u32,
    pub limit: u32,
}

impl PageRequest {
    pub const DEFAULT_LIMIT: u32 = 20;

    /// Checks what a caller asked for.
    pub fn new(page: Option<u32>, limit: Option<u32>) -> Result<Self, Problem> {
        let page = page.unwrap_or(1);
        if page == 0 {
            return Err(Problem::invalid("page", "is 0; the first page is 1"));
        }
        Ok(Self { page, limit: check_limit(limit)? })
    }

    /// As a statement's parameter.
    pub fn limit(self) -> i64 {
        i64::from(self.limit)
    }

    pub fn offset(self) -> i64 {
        (i64::from(self.page) - 1) * self.limit()
    }

    /// What stands beside a page of `total_count` rows. A total above [`MAX_TOTAL`] is shown as that.
    pub fn meta(self, total_count: i64, search_time: Duration) -> PageMeta {
        let has_more = total_count > self.offset() + self.limit();
        let shown = total_count.min(MAX_TOTAL);
        PageMeta {
            total_pages: Some((shown + self.limit() - 1) / self.limit()),
            total_count: Some(shown),
            total_is_capped: total_count > MAX_TOTAL,
            has_more,
            ..self.meta_without_total(None, search_time)
        }
    }

    pub fn meta_without_total(self, next_cursor: Option<String>, search_time: Duration) -> PageMeta {
        PageMeta { page: Some(self.page), ..PageMeta::after_cursor(self.limit, next_cursor, search_time) }
    }
}

/// Checks how many items a caller asked for; 20 if it was left out.
pub fn check_limit(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(PageRequest::DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid("limit", format!("is {limit}; use 1 to {MAX_LIMIT}")));
    }
    Ok(limit)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SortOrder {
    Asc,
    #[default]
    Desc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_from_one() {
        let second = PageRequest::new(Some(2), Some(10)).unwrap();
        assert_eq!((second.limit(), second.offset()), (10, 10));
        let meta = second.meta(21, Duration::ZERO);
        assert_eq!((meta.total_pages, meta.total_count, meta.has_more), (Some(3), Some(21), true));
        let meta = second.meta(0, Duration::ZERO);
        assert_eq!((meta.total_pages, meta.total_count, meta.has_more), (Some(0), Some(0), false));
    }

    #[test]
    fn a_page_that_cannot_be_is_refused() {
        assert!(PageRequest::new(Some(0), None).is_err());
        assert!(PageRequest::new(None, Some(0)).is_err());
        assert!(PageRequest::new(None, Some(101)).is_err());
        assert!(PageRequest::new(Some(u32::MAX), Some(100)).is_ok());
    }

    #[test]
    fn a_total_that_was_not_counted_to_its_end_says_so() {
        let meta = PageRequest::new(None, Some(100)).unwrap().meta(MAX_TOTAL + 1, Duration::ZERO);
        assert_eq!((meta.total_pages, meta.total_count, meta.total_is_capped), (Some(100), Some(MAX_TOTAL), true));
        assert!(!PageRequest::new(None, None).unwrap().meta(MAX_TOTAL, Duration::ZERO).total_is_capped);
    }
}
