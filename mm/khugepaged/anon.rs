// SPDX-License-Identifier: GPL-2.0

//! The back-end for anonymous memory.
//!
//! [`scan`] looks at a table under the mmap read lock and the page-table lock. [`collapse`] makes
//! it a huge page; if regions of it may become large folios, [`regions`] finds out which, and
//! [`batch`] makes all of these such at once. Both work in a [`Session`](session::Session) that has
//! the mmap lock for write.

#![forbid(unsafe_code)]

pub(crate) mod batch;
mod collapse;
mod regions;
pub(crate) mod scan;
mod session;
