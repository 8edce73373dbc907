// SPDX-License-Identifier: GPL-2.0

//! The objects that C code finds by name.
//!
//! Locks: none.
//! Context: any.
//! Units: PTEs per PMD range.
//!
//! C: `khugepaged_max_ptes_none`, `khugepaged_attr_group`.

use core::mem::{
    align_of,
    size_of, //
};
use kernel::{
    bindings,
    sync::atomic::Atomic, //
};

/// How many PTEs may be none. huge_memory.c reads it as well, to tell when a huge page is
/// underused.
#[no_mangle]
pub static khugepaged_max_ptes_none: Atomic<u32> = Atomic::new(0);

/// Checks at compile time that C reads a static as what it is.
macro_rules! same_layout {
    ($name:ident: $ty:ty) => {
        const _: () = {
            // The type by which C code knows the object.
            const fn size_of_pointee<T>(_: *const T) -> (usize, usize) {
                (size_of::<T>(), align_of::<T>())
            }
            let (size, align) = size_of_pointee(&raw const bindings::$name);
            assert!(size == size_of::<$ty>() && align == align_of::<$ty>());
        };
    };
}

same_layout!(khugepaged_max_ptes_none: Atomic<u32>);

#[cfg(CONFIG_SYSFS)]
mod attributes {
    use super::{
        align_of,
        bindings,
        size_of, //
    };
    use crate::tunables;
    use kernel::sysfs::{
        AttributeGroup,
        AttributeList,
        KobjAttribute, //
    };

    static DEFRAG: KobjAttribute = KobjAttribute::read_write::<tunables::Defrag>();
    static MAX_PTES_NONE: KobjAttribute = KobjAttribute::read_write::<tunables::MaxPtesNone>();
    static MAX_PTES_SWAP: KobjAttribute = KobjAttribute::read_write::<tunables::MaxPtesSwap>();
    static MAX_PTES_SHARED: KobjAttribute = KobjAttribute::read_write::<tunables::MaxPtesShared>();
    static MTHP_PAGE_CACHE: KobjAttribute = KobjAttribute::read_write::<tunables::MthpPageCache>();
    static PAGES_TO_SCAN: KobjAttribute = KobjAttribute::read_write::<tunables::PagesToScan>();
    static PAGES_COLLAPSED: KobjAttribute = KobjAttribute::read_only::<tunables::PagesCollapsed>();
    static FULL_SCANS: KobjAttribute = KobjAttribute::read_only::<tunables::FullScans>();
    static SCAN_SLEEP: KobjAttribute = KobjAttribute::read_write::<tunables::ScanSleep>();
    static ALLOC_SLEEP: KobjAttribute = KobjAttribute::read_write::<tunables::AllocSleep>();

    static FILES: AttributeList<11> = AttributeList::new([
        Some(&DEFRAG),
        Some(&MAX_PTES_NONE),
        Some(&MAX_PTES_SWAP),
        Some(&MAX_PTES_SHARED),
        Some(&MTHP_PAGE_CACHE),
        Some(&PAGES_TO_SCAN),
        Some(&PAGES_COLLAPSED),
        Some(&FULL_SCANS),
        Some(&SCAN_SLEEP),
        Some(&ALLOC_SLEEP),
        None,
    ]);

    /// The directory of the knobs, which huge_memory.c registers.
    #[no_mangle]
    pub static khugepaged_attr_group: AttributeGroup = AttributeGroup::new(c"khugepaged", &FILES);

    same_layout!(khugepaged_attr_group: AttributeGroup);
}
