//! Pagination rules shared by clients and the sandbox.

use super::{Pagination, PaginationKind};

/// Returns the number of the first page, or its offset.
pub fn first_page(pages: &Pagination) -> u64 {
    pages.first.map_or_else(|| u64::from(pages.kind == PaginationKind::Page), u64::from)
}
