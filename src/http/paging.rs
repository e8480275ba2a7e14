//! Pages of a list, as the wire has them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;

pub const MAX_LIMIT: u32 = 100;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub meta: PageMeta,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PageMeta {
    pub page: u32,
    pub limit: u32,
    pub total_pages: i64,
    pub total_count: i64,
    /// Milliseconds that the search took.
    pub search_time_ms: f64,
}

/// Which page, once it has been checked.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    page: u32,
    limit: u32,
}

impl PageRequest {
    pub const DEFAULT_LIMIT: u32 = 20;

    /// Checks what a caller asked for.
    pub fn new(page: Option<u32>, limit: Option<u32>) -> Result<Self, Problem> {
        let page = page.unwrap_or(1);
        let limit = limit.unwrap_or(Self::DEFAULT_LIMIT);
        if page == 0 {
            return Err(Problem::invalid("page", "is 0; the first page is 1"));
        }
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::invalid("limit", format!("is {limit}; use 1 to {MAX_LIMIT}")));
        }
        Ok(Self { page, limit })
    }

    pub fn limit(self) -> i64 {
        i64::from(self.limit)
    }

    pub fn offset(self) -> i64 {
        (i64::from(self.page) - 1) * self.limit()
    }

    pub fn meta(self, total_count: i64, search_time: std::time::Duration) -> PageMeta {
        PageMeta {
            page: self.page,
            limit: self.limit,
            total_pages: (total_count + self.limit() - 1) / self.limit(),
            total_count,
            search_time_ms: (search_time.as_secs_f64() * 100_000.0).round() / 100.0,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
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
        assert_eq!(second.meta(21, std::time::Duration::ZERO).total_pages, 3);
        assert_eq!(second.meta(0, std::time::Duration::ZERO).total_pages, 0);
    }

    #[test]
    fn a_page_that_cannot_be_is_refused() {
        assert!(PageRequest::new(Some(0), None).is_err());
        assert!(PageRequest::new(None, Some(0)).is_err());
        assert!(PageRequest::new(None, Some(101)).is_err());
        assert!(PageRequest::new(Some(u32::MAX), Some(100)).is_ok());
    }
}
