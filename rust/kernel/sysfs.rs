// SPDX-License-Identifier: GPL-2.0

//! Attributes of kobjects, as files of sysfs.
//!
//! An attribute is a type: [`Attribute`] says its name and what reading gives, [`Writable`] what
//! writing does. [`KobjAttribute`] and [`AttributeGroup`] make statics of them that C registers.
//!
//! Locks: none; sysfs keeps the kobject while a callback runs.
//! Context: process context, may sleep.
//! Units: none.
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)
#![cfg(CONFIG_SYSFS)]

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::{
        offset_of,
        size_of, //
    },
};

/// Reads an unsigned number in base 10 as the files of C do: an optional `+`, digits, at most one
/// newline.
///
/// # Examples
///
/// ```
/// use kernel::sysfs::parse_u32;
///
/// assert_eq!(parse_u32(c"42\n"), Ok(42));
/// assert_eq!(parse_u32(c"+42"), Ok(42));
/// assert_eq!(parse_u32(c"4294967296"), Err(ERANGE));
/// for wrong in [c"", c"\n", c"-1", c" 1", c"1 ", c"0x10", c"1\n\n"] {
///     assert_eq!(parse_u32(wrong), Err(EINVAL));
/// }
/// ```
pub fn parse_u32(text: &CStr) -> Result<u32> {
    let mut value = 0;
    // SAFETY: `text` is a string, and `value` a place for the number.
    to_result(unsafe { bindings::kstrtouint(text.as_char_ptr(), 10, &mut value) })?;
    Ok(value)
}

/// As [`parse_u32`], for the size of `unsigned long`.
///
/// # Examples
///
/// ```
/// use kernel::sysfs::parse_usize;
///
/// assert_eq!(parse_usize(c"511\n"), Ok(511));
/// assert_eq!(parse_usize(c"99999999999999999999"), Err(ERANGE));
/// assert_eq!(parse_usize(c"many"), Err(EINVAL));
/// ```
pub fn parse_usize(text: &CStr) -> Result<usize> {
    let mut value = 0;
    // SAFETY: `text` is a string, and `value` a place for the number.
    to_result(unsafe { bindings::kstrtoul(text.as_char_ptr(), 10, &mut value) })?;
    Ok(value)
}

/// The buffer that a read of an attribute fills.
///
/// # Invariants
///
/// The pointers are those that sysfs passed to the callback of a read, which has not returned;
/// `buf` is a page.
pub struct Output<'a> {
    pub(crate) kobj: *mut bindings::kobject,
    pub(crate) attr: *mut bindings::kobj_attribute,
    pub(crate) buf: *mut c_char,
    _read: PhantomData<&'a mut c_char>,
}

/// The number of bytes that are in the buffer.
pub struct Emitted(pub(crate) isize);

impl Output<'_> {
    /// Puts a number and a newline.
    pub fn emit_u32(self, value: u32) -> Emitted {
        // SAFETY: By the type invariant `buf` is a page; the format takes one unsigned int.
        let len = unsafe { bindings::sysfs_emit(self.buf, c"%u\n".as_char_ptr(), value) };
        // CAST: A page has far fewer bytes.
        Emitted(len as isize)
    }
}

/// What a write to an attribute brought.
///
/// # Invariants
///
/// The pointers are those that sysfs passed to the callback of a write, which has not returned;
/// `buf` is a string of `count` bytes.
pub struct Input<'a> {
    pub(crate) kobj: *mut bindings::kobject,
    pub(crate) attr: *mut bindings::kobj_attribute,
    pub(crate) buf: *const c_char,
    pub(crate) count: usize,
    _write: PhantomData<&'a c_char>,
}

impl Input<'_> {
    /// The text.
    #[inline]
    pub fn text(&self) -> &CStr {
        // SAFETY: By the type invariant `buf` is a string, and nobody changes it.
        unsafe { CStr::from_char_ptr(self.buf) }
    }
}

/// A file that can be read.
pub trait Attribute: 'static {
    /// The name of the file.
    const NAME: &'static CStr;

    /// Answers a read.
    fn show(out: Output<'_>) -> Result<Emitted>;
}

/// A file that can be written as well.
pub trait Writable: Attribute {
    /// Takes what was written; all of it, or nothing.
    fn store(input: &Input<'_>) -> Result;
}

/// `struct kobj_attribute`.
#[repr(transparent)]
pub struct KobjAttribute(Opaque<bindings::kobj_attribute>);

// SAFETY: Rust code never touches the fields of an attribute, and C code protects what it changes.
unsafe impl Sync for KobjAttribute {}

impl KobjAttribute {
    /// A file with mode 0444.
    pub const fn read_only<T: Attribute>() -> Self {
        Self(Opaque::new(Self::raw::<T>(0o444)))
    }

    /// A file with mode 0644.
    pub const fn read_write<T: Writable>() -> Self {
        let mut raw = Self::raw::<T>(0o644);
        raw.__bindgen_anon_2.store = Some(store::<T>);
        Self(Opaque::new(raw))
    }

    const fn raw<T: Attribute>(mode: bindings::umode_t) -> bindings::kobj_attribute {
        let mut raw: bindings::kobj_attribute = pin_init::zeroed();
        raw.attr.name = crate::str::as_char_ptr_in_const_context(T::NAME);
        raw.attr.mode = mode;
        raw.__bindgen_anon_1.show = Some(show::<T>);
        raw
    }
}

/// # Safety
///
/// Only for sysfs to call, as [`Output`] says.
unsafe extern "C" fn show<T: Attribute>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::kobj_attribute,
    buf: *mut c_char,
) -> isize {
    // INVARIANT: By the requirement of this function.
    let out = Output {
        kobj,
        attr,
        buf,
        _read: PhantomData,
    };
    match T::show(out) {
        Ok(emitted) => emitted.0,
        // CAST: An errno fits.
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Only for sysfs to call, as [`Input`] says.
unsafe extern "C" fn store<T: Writable>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::kobj_attribute,
    buf: *const c_char,
    count: usize,
) -> isize {
    // INVARIANT: By the requirement of this function.
    let input = Input {
        kobj,
        attr,
        buf,
        count,
        _write: PhantomData,
    };
    match T::store(&input) {
        // CAST: sysfs takes no more than a page.
        Ok(()) => count as isize,
        // CAST: An errno fits.
        Err(error) => error.to_errno() as isize,
    }
}

/// The attributes of a group in the order of the files, with [`None`] at the end.
///
/// C reads it as an array of pointers to `struct attribute` that ends with NULL.
#[repr(transparent)]
pub struct AttributeList<const N: usize>([Option<&'static KobjAttribute>; N]);

const _: () = {
    // A pointer to one of our attributes is a pointer to the C attribute in it, and no attribute is
    // NULL.
    assert!(offset_of!(bindings::kobj_attribute, attr) == 0);
    assert!(size_of::<Option<&KobjAttribute>>() == size_of::<*mut bindings::attribute>());
};

impl<const N: usize> AttributeList<N> {
    /// Makes the list. Fails to compile if [`None`] is not at the end and only there.
    pub const fn new(list: [Option<&'static KobjAttribute>; N]) -> Self {
        let mut i = 0;
        while i < N {
            assert!(list[i].is_none() == (i + 1 == N));
            i += 1;
        }
        assert!(N > 0);
        Self(list)
    }
}

/// `struct attribute_group`: a directory of attributes.
#[repr(transparent)]
pub struct AttributeGroup(Opaque<bindings::attribute_group>);

// SAFETY: As for `KobjAttribute`.
unsafe impl Sync for AttributeGroup {}

impl AttributeGroup {
    /// Makes a group.
    pub const fn new<const N: usize>(name: &'static CStr, list: &'static AttributeList<N>) -> Self {
        let mut raw: bindings::attribute_group = pin_init::zeroed();
        raw.name = crate::str::as_char_ptr_in_const_context(name);
        // CAST: `AttributeList` says why C can read it as this.
        raw.__bindgen_anon_2.attrs = core::ptr::from_ref(list)
            .cast::<*mut bindings::attribute>()
            .cast_mut();
        Self(Opaque::new(raw))
    }
}
