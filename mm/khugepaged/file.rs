// SPDX-License-Identifier: GPL-2.0

//! The back-end for what lies in a page cache: shmem and regular files.
//!
//! [`scan`] looks at an extent of the page cache under RCU. [`collapse`] makes it one folio, without
//! any mmap lock. Who maps it is left to the next fault, or to [`remap`](crate::remap). Where a knob
//! allows it, [`regions`] does the same with the parts of an extent that is not made one folio.

#![forbid(unsafe_code)]

use kernel::mm::page_cache::Mapping;

pub(crate) mod collapse;
pub(crate) mod regions;
pub(crate) mod scan;

/// What the page cache belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// shmem, tmpfs: pages may be missing, or swapped out, and are always dirty.
    Shmem,
    /// A regular file: what is missing can be read, and what is dirty is to be written first.
    Regular,
}

impl Kind {
    pub(crate) fn of(mapping: &Mapping) -> Self {
        if mapping.is_shmem() {
            Self::Shmem
        } else {
            Self::Regular
        }
    }
}

/// What an extent has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It is one folio, which the next fault maps.
    Collapsed,
    /// It is one folio, which this process is still to map by a PMD.
    NeedsRemap,
}
