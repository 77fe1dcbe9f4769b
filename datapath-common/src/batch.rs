//! Many entries of a map in one system call, which aya has no call for.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::vec;
use std::vec::Vec;

/// What is done to the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// They are created or replaced.
    Update,
    /// They are deleted.
    Delete,
}

/// Commands of the system call.
const LOOKUP: libc::c_long = 24;
const UPDATE: libc::c_long = 26;
const DELETE: libc::c_long = 27;

/// `bpf_attr` of the commands.
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    entry_flags: u64,
    flags: u64,
}

const _: () = assert!(size_of::<Attributes>() == 56);

/// Does it to `count` entries, whose keys and values (none are looked at when deleting) lie one after the other. Answers
/// how many were done, in their order, and whether the kernel then met an error: the caller goes on singly from there
/// and learns which. Kernels that have no batches for the kind of map do none.
pub fn batch(
    map: BorrowedFd<'_>,
    what: Batch,
    (keys, key_size): (&[u8], usize),
    (values, value_size): (&[u8], usize),
    count: u32,
) -> (u32, io::Result<()>) {
    let (command, values) = match what {
        Batch::Update => (UPDATE, values),
        Batch::Delete => (DELETE, &[][..]),
    };
    let many = usize::try_from(count).unwrap_or(usize::MAX);
    let fits = |bytes: &[u8], size: usize| many.checked_mul(size) == Some(bytes.len());
    if !fits(keys, key_size) || what == Batch::Update && !fits(values, value_size) {
        return (0, Err(io::ErrorKind::InvalidInput.into()));
    }
    let mut attributes = Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map: map.as_raw_fd().unsigned_abs(),
        entry_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values, which are there (compared above; the sizes are those of the map,
    // which the caller opened), and writes nothing but `count` of the attributes.
    let answer = unsafe { call(command, &mut attributes) };
    let Err(error) = answer else {
        return (count, Ok(()));
    };
    // Where it refuses the command itself, `count` stays as it was.
    let done = match error.raw_os_error() {
        Some(libc::ENOENT | libc::E2BIG | libc::ENOSPC | libc::ENOMEM | libc::EAGAIN) if attributes.count < count => {
            attributes.count
        }
        _ => 0,
    };
    (done, Err(error))
}

/// How far a reading in batches has come. What it means is the kernel's.
#[derive(Clone, Debug, Default)]
pub struct Position(Option<Vec<u8>>);

/// Reads entries from `position` on into `keys` and `values`, as many as both have room for, and moves `position`.
/// Answers how many were read, and whether more may follow. An error leaves the position: `ENOSPC` asks for more room.
pub fn read(
    map: BorrowedFd<'_>,
    position: &mut Position,
    (keys, key_size): (&mut [u8], usize),
    (values, value_size): (&mut [u8], usize),
) -> io::Result<(usize, bool)> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let room = |bytes: &[u8], size: usize| bytes.len().checked_div(size);
    let room = room(keys, key_size)
        .ok_or_else(invalid)?
        .min(room(values, value_size).ok_or_else(invalid)?);
    // Hashes write a number of 32 bits, other maps the last key.
    let mut next = vec![0_u8; key_size.max(size_of::<u32>())];
    let mut attributes = Attributes {
        in_batch: position.0.as_ref().map_or(0, |at| at.as_ptr() as u64),
        out_batch: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map: map.as_raw_fd().unsigned_abs(),
        entry_flags: 0,
        flags: 0,
    };
    // SAFETY: there is room for `count` keys and values (divided above; the sizes are those of the map, which the caller
    // opened, and one value stands for an entry: per-CPU maps are not read so), and for a position before and behind.
    let answer = unsafe { call(LOOKUP, &mut attributes) };
    let more = match answer {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    position.0 = Some(next);
    Ok((usize::try_from(attributes.count).unwrap_or(room).min(room), more))
}

/// The system call.
///
/// # Safety
/// Every address in `attributes` that `command` uses has to be good for as many bytes as the kernel takes or gives.
unsafe fn call(command: libc::c_long, attributes: &mut Attributes) -> io::Result<()> {
    // SAFETY: the attributes are of the size that is said; the rest is the caller's promise.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<Attributes>()) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
