// SPDX-License-Identifier: GPL-2.0

//! What `mm/` keeps private to itself, for the part of `mm/` that is written in Rust.
//!
//! The C side is declared in `mm/khugepaged/mm_private.h` and linked, but not exported. These
//! wrappers are part of the kernel crate, all of which is exported to modules under the GPL; they
//! are public for the Rust code in `mm/` only.

pub mod anon_vma;
pub mod held;
pub mod lru;
pub mod swapin;
pub mod thp;
pub mod watermark;
