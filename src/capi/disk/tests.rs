//! What a handler is told of durability.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::capi::attribute::Attributes;
use crate::capi::backstore::{SCSTU_BACKSTORE_VERSION, scstu_backstore_ops};
use crate::capi::log::Context;

/// Writes, durable ones and flushes.
#[derive(Default)]
struct Counts([AtomicU32; 3]);

impl Counts {
    fn take(&self) -> [u32; 3] {
        self.0.each_ref().map(|count| count.swap(0, Ordering::Relaxed))
    }
}

fn counts<'a>(device: *mut c_void) -> &'a Counts {
    // SAFETY: the test keeps them until its disk is closed.
    unsafe { &*device.cast::<Counts>() }
}

unsafe extern "C" fn write(device: *mut c_void, _: u64, _: *const iovec, _: usize, flags: u32) -> c_int {
    let durable = flags & SCSTU_WRITE_DURABLE != 0;
    counts(device).0[usize::from(durable)].fetch_add(1, Ordering::Relaxed);
    0
}

unsafe extern "C" fn flush(device: *mut c_void) -> c_int {
    counts(device).0[2].fetch_add(1, Ordering::Relaxed);
    0
}

#[test]
fn what_the_administrator_says_of_the_cache_holds_whatever_the_handler_says() {
    let asked = |nv_cache, write_through| OpenRequest { nv_cache, write_through, ..OpenRequest::default() };
    for (request, has_cache, expected) in [
        (asked(false, false), true, [1, 1, 1]),
        (asked(false, true), false, [0, 2, 1]),
        (asked(true, false), false, [2, 0, 0]),
        (asked(true, true), false, [2, 0, 0]),
    ] {
        let counts = Counts::default();
        let device: *mut c_void = (&raw const counts).cast_mut().cast();
        let ops = scstu_backstore_ops {
            size: size_of::<scstu_backstore_ops>(),
            version: SCSTU_BACKSTORE_VERSION,
            write: Some(write),
            flush: Some(flush),
            // SAFETY: all zeros are valid, as `Growing` says.
            ..unsafe { std::mem::zeroed() }
        };
        let context = Context::new(std::ptr::null_mut(), None, None);
        let kind = Arc::new(Kind { name: "x".to_owned(), ops, attributes: Attributes::default(), context });
        let opened = scstu_disk {
            device,
            bytes: 64 * 512,
            flags: SCSTU_DISK_VOLATILE_CACHE,
            // SAFETY: all zeros are valid, as `Growing` says.
            ..unsafe { std::mem::zeroed() }
        };
        let disk = Disk::new(&kind, &opened, None).ok().unwrap().caching(Caching::of(&request)).shared();
        assert_eq!(disk.capabilities().contains(Capabilities::VOLATILE_CACHE), has_cache);
        for durable in [false, true] {
            disk.write(0, &[0; 512], durable).unwrap();
        }
        disk.flush().unwrap();
        assert_eq!(counts.take(), expected, "{request:?}");
    }
}
