// SPDX-License-Identifier: GPL-2.0

//! The page cache of a file, and the part of it that a large folio would cover.
//!
//! Who else may touch what an extent holds:
//!
//! - lookups (`read()`, faults, writeback's search): under RCU, at any time. They take a reference
//!   first and ask whether the folio is still in its place afterwards; to map it or to write to it
//!   they lock it and ask again;
//! - whoever adds a folio (faults, writes, readahead, swap-in): under the `i_pages` lock;
//! - whoever takes one out (truncation, hole punching, reclaim, swap-out, migration): with the
//!   folio locked, then under the `i_pages` lock;
//! - page tables: through the reverse map, which needs the folio lock to add a mapping.
//!
//! A collapse takes them out of the game one by one: [`Gather`] locks every folio, takes it off the
//! LRU and unmaps it; [`ReservedExtent`] has the room and the right to fill the holes; `install`
//! fills them under the `i_pages` lock with entries that make lookups wait, and replaces all by one
//! folio, which is locked until nobody maps an old one.
//!
//! Locks: mmap lock, folio lock, `i_mmap_rwsem`, `i_pages` lock.
//! Context: as each function says.
//! Units: pages, for offsets and lengths.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h),
//! [`include/linux/shmem_fs.h`](srctree/include/linux/shmem_fs.h); C: `collapse_file()`.

use crate::{
    bindings,
    error::from_err_ptr,
    ffi::c_void,
    mm::{
        region::{
            Order,
            Orders,
            PmdAddr, //
        },
        vma::Vma, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    types::Opaque, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};

mod folio;
mod gather;
mod holes;
mod install;
mod scan;
mod xas;

pub use self::{
    folio::{
        FolioRef,
        LockedFolio, //
    },
    gather::{
        CacheFolios,
        Gather,
        Refusal, //
    },
    holes::ReservedExtent,
    install::{
        InstallError,
        InstalledFolio, //
    },
    scan::{
        CacheScan,
        Found, //
    }, //
};

/// The pages of a file that a folio of some order would hold.
///
/// # Invariants
///
/// `start` is a multiple of the number of pages, and the end does not wrap.
///
/// # Examples
///
/// ```
/// use kernel::mm::{page_cache::Extent, region::{Order, HPAGE_PMD_NR}};
///
/// let extent = Extent::new(HPAGE_PMD_NR, Order::PMD).ok_or(EINVAL)?;
/// assert_eq!(extent.start(), HPAGE_PMD_NR);
/// assert_eq!(extent.end(), 2 * HPAGE_PMD_NR);
/// assert!(Extent::new(1, Order::PMD).is_none());
/// assert!(Extent::new(usize::MAX - (HPAGE_PMD_NR - 1), Order::PMD).is_none());
///
/// let order = Order::new(2).ok_or(EINVAL)?;
/// let extent = Extent::new(12, order).ok_or(EINVAL)?;
/// assert_eq!((extent.start(), extent.end(), extent.nr_pages()), (12, 16, 4));
/// assert!(Extent::new(14, order).is_none());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    start: usize,
    order: Order,
}

impl Extent {
    /// The extent of an order that starts with page `start`; [`None`] if none does.
    #[inline]
    pub const fn new(start: usize, order: Order) -> Option<Self> {
        let nr = order.nr_pages();
        if start & (nr - 1) != 0 || start.checked_add(nr).is_none() {
            return None;
        }
        // INVARIANT: Just tested.
        Some(Self { start, order })
    }

    /// The order of the folio.
    #[inline]
    pub const fn order(self) -> Order {
        self.order
    }

    /// The number of pages.
    #[inline]
    pub const fn nr_pages(self) -> usize {
        self.order.nr_pages()
    }

    /// The first page.
    #[inline]
    pub const fn start(self) -> usize {
        self.start
    }

    /// The page behind the last one.
    #[inline]
    pub const fn end(self) -> usize {
        self.start.wrapping_add(self.nr_pages())
    }

    /// The offsets in the file of the first byte and the last.
    #[inline]
    fn bytes(self) -> (bindings::loff_t, bindings::loff_t) {
        // CAST: An offset in a file fits.
        let start = (self.start << PAGE_SHIFT) as bindings::loff_t;
        let bytes = (self.nr_pages() * PAGE_SIZE) as bindings::loff_t;
        (start, start | (bytes - 1))
    }
}

/// A file that stays open.
///
/// # Invariants
///
/// We own a reference to the file.
pub struct CacheFile(NonNull<bindings::file>);

impl CacheFile {
    /// The pointer for C.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }

    /// The page cache.
    #[inline]
    pub fn mapping(&self) -> &Mapping {
        // SAFETY: By the type invariant the file is valid, and keeps its mapping.
        unsafe { Mapping::from_raw((*self.as_raw()).f_mapping) }
    }

    /// Reads pages in that are missing from `index` up to `end`, or starts to. Sleeps.
    ///
    /// C: `page_cache_sync_readahead()`.
    pub fn read_ahead(&self, index: usize, end: usize) {
        let nr = end.saturating_sub(index);
        // SAFETY: The file is valid. Its read-ahead state is a heuristic that all users of the file
        // share without a lock.
        unsafe { bindings::collapse_read_ahead(self.as_raw(), index, nr) }
    }
}

impl Drop for CacheFile {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::fput(self.as_raw()) }
    }
}

impl Vma {
    /// The file that the VMA maps, with a reference of our own.
    pub fn file(&self) -> Option<CacheFile> {
        // SAFETY: By the type invariant the VMA is valid and keeps its file.
        let file = NonNull::new(unsafe { (*self.as_ptr()).vm_file })?;
        // SAFETY: The VMA has a reference to the file.
        unsafe { bindings::get_file(file.as_ptr()) };
        // INVARIANT: Taken just now.
        Some(CacheFile(file))
    }

    /// The page cache of the file that the VMA maps.
    pub fn mapping(&self) -> Option<&Mapping> {
        // SAFETY: By the type invariant the VMA is valid and keeps its file.
        let file = NonNull::new(unsafe { (*self.as_ptr()).vm_file })?;
        // SAFETY: The file keeps its mapping.
        Some(unsafe { Mapping::from_raw((*file.as_ptr()).f_mapping) })
    }

    /// Which page of its file the VMA maps at `at`.
    ///
    /// C: `linear_page_index()`.
    pub fn page_index_at(&self, at: PmdAddr) -> Option<usize> {
        let offset = at.get().checked_sub(self.start())?;
        // SAFETY: By the type invariant the VMA is valid.
        let first = unsafe { (*self.as_ptr()).vm_pgoff };
        first.checked_add(offset >> PAGE_SHIFT)
    }

    /// What of its file the VMA maps at `at`; [`None`] if no huge page could be mapped there.
    pub fn extent_at(&self, at: PmdAddr) -> Option<Extent> {
        Extent::new(self.page_index_at(at)?, Order::PMD)
    }
}

/// The page cache of a file.
///
/// # Invariants
///
/// The `address_space` and its inode are valid while the reference lives.
#[repr(transparent)]
pub struct Mapping(Opaque<bindings::address_space>);

/// What a place in the page cache holds.
pub enum Slot {
    /// Nothing.
    Empty,
    /// No folio, but what is left of one: where it was swapped to, or when it was evicted.
    Trace,
    /// A folio.
    Folio(FolioRef),
}

impl Mapping {
    /// # Safety
    ///
    /// The mapping and its inode must be valid during `'a`.
    #[inline]
    unsafe fn from_raw<'a>(mapping: *mut bindings::address_space) -> &'a Self {
        // SAFETY: `repr(transparent)`; the caller keeps the mapping for `'a`.
        unsafe { &*mapping.cast() }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::address_space {
        self.0.get()
    }

    #[inline]
    fn inode(&self) -> *mut bindings::inode {
        // SAFETY: By the type invariant the mapping is valid. The field does not change.
        unsafe { (*self.as_raw()).host }
    }

    /// Whether the file is shmem or tmpfs.
    #[inline]
    pub fn is_shmem(&self) -> bool {
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::shmem_mapping(self.as_raw()) }
    }

    /// The orders of the folios that the file system can have in here.
    ///
    /// C: `mapping_min_folio_order()`, `mapping_max_folio_order()`.
    pub fn folio_orders(&self) -> Orders {
        // SAFETY: By the type invariant the mapping is valid.
        let (min, max) = unsafe {
            (
                bindings::mapping_min_folio_order(self.as_raw()),
                bindings::mapping_max_folio_order(self.as_raw()),
            )
        };
        Orders::between(min, max)
    }

    /// How many pages the file is long, the last of them maybe in part. Old at once.
    pub fn nr_pages(&self) -> usize {
        // SAFETY: By the type invariant the inode is valid.
        let bytes = unsafe { bindings::i_size_read(self.inode()) };
        usize::try_from(bytes).map_or(0, |bytes| bytes.div_ceil(PAGE_SIZE))
    }

    /// Whether somebody has the file open for writing.
    #[inline]
    pub fn is_open_for_write(&self) -> bool {
        // SAFETY: By the type invariant the inode is valid.
        unsafe { bindings::inode_is_open_for_write(self.inode()) }
    }

    /// Whether dirty pages can be written to anything.
    #[inline]
    pub fn can_write_back(&self) -> bool {
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::mapping_can_writeback(self.as_raw()) }
    }

    /// Starts to write the dirty pages of an extent, without waiting for the end. May sleep.
    ///
    /// C: `filemap_flush_range()`.
    pub fn start_write_back(&self, extent: Extent) {
        let (start, last) = extent.bytes();
        // SAFETY: By the type invariant the mapping is valid. An error is kept in the mapping, for
        // those who ask with fsync().
        unsafe { bindings::filemap_flush_range(self.as_raw(), start, last) };
    }

    /// Writes the dirty pages of an extent and waits for that. Sleeps.
    ///
    /// C: `filemap_write_and_wait_range()`.
    pub fn write_back(&self, extent: Extent) {
        let (start, last) = extent.bytes();
        // SAFETY: By the type invariant the mapping is valid. An error stays in the mapping, too,
        // and a page that it concerns stays dirty.
        unsafe { bindings::filemap_write_and_wait_range(self.as_raw(), start, last) };
    }

    /// Looks up a page. What comes back is old at once, unless it is a folio that is locked then.
    ///
    /// C: `filemap_get_entry()`.
    #[inline]
    pub fn slot(&self, index: usize) -> Slot {
        // SAFETY: By the type invariant the mapping is valid.
        let entry = unsafe { bindings::filemap_get_entry(self.as_raw(), index) };
        // SAFETY: Only looks at the pointer.
        if unsafe { bindings::xa_is_value(entry) } {
            return Slot::Trace;
        }
        match NonNull::new(entry.cast()) {
            // SAFETY: The lookup took a reference for us.
            Some(folio) => Slot::Folio(unsafe { FolioRef::from_raw(folio) }),
            None => Slot::Empty,
        }
    }

    /// Whether there is nothing in the extent, not even a trace of a page.
    pub fn is_hole(&self, extent: Extent) -> bool {
        let mut index = extent.start();
        // SAFETY: By the type invariant the mapping is valid; it takes the RCU lock itself.
        let entry: *mut c_void = unsafe {
            bindings::xa_find(
                &raw mut (*self.as_raw()).i_pages,
                &mut index,
                extent.end().wrapping_sub(1),
                bindings::XA_PRESENT,
            )
        };
        entry.is_null()
    }

    /// Looks up and locks a folio. Sleeps.
    ///
    /// C: `filemap_lock_folio()`.
    pub fn lock_folio(&self, index: usize) -> Option<LockedFolio> {
        // SAFETY: By the type invariant the mapping is valid.
        let folio = unsafe { bindings::filemap_lock_folio(self.as_raw(), index) };
        let folio = NonNull::new(from_err_ptr(folio).ok()?)?;
        // SAFETY: The folio comes locked and with a reference for us.
        Some(unsafe { LockedFolio::from_raw(folio) })
    }

    /// Brings a page of shmem back from swap, or gives an allocated one its zeroes. Sleeps.
    ///
    /// [`None`] if there is nothing to bring back, or on an error.
    ///
    /// C: `shmem_get_folio()` with `SGP_NOALLOC`.
    pub fn shmem_folio(&self, index: usize) -> Option<LockedFolio> {
        if !self.is_shmem() {
            return None;
        }
        let mut folio = null_mut();
        // SAFETY: By the type invariant the inode is valid, and it is one of shmem.
        let error = unsafe {
            bindings::shmem_get_folio(
                self.inode(),
                index,
                0,
                &mut folio,
                bindings::sgp_type_SGP_NOALLOC,
            )
        };
        if error != 0 {
            return None;
        }
        // SAFETY: The folio, if there is one, comes locked and with a reference for us.
        NonNull::new(folio).map(|folio| unsafe { LockedFolio::from_raw(folio) })
    }
}
