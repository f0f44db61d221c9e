//! The ABI with the eBPF programs. `raw.rs` is generated from `ebpf/include/authz_abi.h`.
#![allow(unsafe_code, reason = "plain-old-data markers and one cast of bytes")]

#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
pub mod raw;

use raw::*;

macro_rules! pod {
    ($($name:ty),* $(,)?) => {$(
        // SAFETY: repr(C), integers and byte arrays only, no padding: the header asserts the sizes.
        unsafe impl aya::Pod for $name {}
    )*};
}
pod!(authz_task, authz_session, authz_state, authz_region, authz_verdict, authz_answer, authz_name);

/// Bytes of an event before its names.
pub const EVENT_HEADER: usize = size_of::<authz_event>() - AUTHZ_DATA_MAX as usize;

/// The bytes of a verdict key after `prefixlen`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct VerdictKey(pub [u8; size_of::<authz_verdict_key>() - 4]);

// SAFETY: an array of bytes.
unsafe impl aya::Pod for VerdictKey {}

/// Copies the bytes of a ring buffer record into an event. `None`: too short, or its lengths point
/// outside of it.
pub fn event_from_bytes(bytes: &[u8]) -> Option<Box<authz_event>> {
    if bytes.len() < EVENT_HEADER || bytes.len() > size_of::<authz_event>() {
        return None;
    }
    let mut event = Box::<authz_event>::default();
    let target: *mut authz_event = &mut *event;
    // SAFETY: `bytes` is no longer than the struct (checked above), and every bit pattern is valid
    // for its fields.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.cast::<u8>(), bytes.len()) };
    let names = usize::from(event.path_len) + usize::from(event.other_len);
    (EVENT_HEADER + names <= bytes.len()).then_some(event)
}

/// An address as the bytes that stand at the start of an event's data.
pub fn bytes_of_address(address: &authz_address) -> &[u8] {
    let bytes: *const authz_address = address;
    // SAFETY: plain integers without padding (the header asserts the size), alive as long as the borrow.
    unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size_of::<authz_address>()) }
}

/// Reads the address at the start of an event's data.
pub fn address_of(event: &authz_event) -> Option<authz_address> {
    if usize::from(event.path_len) != size_of::<authz_address>() {
        return None;
    }
    // SAFETY: `data` is longer than an address, which is plain integers; the read is unaligned.
    Some(unsafe { std::ptr::read_unaligned(event.data.as_ptr().cast::<authz_address>()) })
}
