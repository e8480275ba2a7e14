//! Pagination: by page number, as the wire has it, and by cursor, whose cost does not depend on the page's depth.

mod cursor;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::cursor::Cursor;
use crate::model::Error;

pub const MAX_LIMIT: u32 = 100;

/// Totals are counted up to here: counting a million rows costs more than reading a page.
pub const MAX_TOTAL: i64 = 10_000;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub meta: PageMeta,
}

impl<T> Page<T> {
    pub fn map<U>(self, show: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(show).collect(), meta: self.meta }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PageMeta {
    /// The page number. Absent if a cursor was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    pub limit: u32,
    /// Number of pages, by `total_count`. Absent if a cursor was given, and with `include_total=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_pages: Option<i64>,
    /// Number of items in the list, at most 10,000. Absent if a cursor was given, and with `include_total=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_count: Option<i64>,
    /// True if the list has more items than `total_count`. Pages and cursors go beyond it. Absent if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_capped: bool,
    /// Whether there are more items after this page.
    pub has_more: bool,
    /// The cursor of the next page: pass it as `cursor`, with the same filters and order. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Duration of the search in milliseconds.
    pub search_time_ms: f64,
}

impl PageMeta {
    /// The metadata of a page that was requested by cursor.
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

/// A validated page number and limit.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    page: u32,
    pub limit: u32,
}

impl PageRequest {
    pub const DEFAULT_LIMIT: u32 = 20;

    /// Validates the caller's page number and limit.
    pub fn new(page: Option<u32>, limit: Option<u32>) -> Result<Self, Error> {
        let page = page.unwrap_or(1);
        if page == 0 {
            return Err(Error::invalid("page", "is 0; the first page is 1"));
        }
        Ok(Self { page, limit: check_limit(limit)? })
    }

    /// As an SQL parameter.
    pub fn limit(self) -> i64 {
        i64::from(self.limit)
    }

    pub fn offset(self) -> i64 {
        (i64::from(self.page) - 1) * self.limit()
    }

    /// The metadata of a page from a list of `total_count` rows. Totals above [`MAX_TOTAL`] are capped.
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

/// Validates the number of items that a caller asked for. Default: 20.
pub fn check_limit(limit: Option<u32>) -> Result<u32, Error> {
    let limit = limit.unwrap_or(PageRequest::DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::invalid("limit", format!("is {limit}; use 1 to {MAX_LIMIT}")));
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
