//! Many entries of a map in one system call, which aya has no call for.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// What is done to the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// They are created or replaced.
    Update,
    /// They are deleted.
    Delete,
}

/// `bpf_attr` of the two commands.
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
    const UPDATE: libc::c_long = 26;
    const DELETE: libc::c_long = 27;
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
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size_of::<Attributes>()) };
    if answer == 0 {
        return (count, Ok(()));
    }
    // Where it refuses the command itself, `count` stays as it was.
    let error = io::Error::last_os_error();
    let done = match error.raw_os_error() {
        Some(libc::ENOENT | libc::E2BIG | libc::ENOSPC | libc::ENOMEM | libc::EAGAIN) if attributes.count < count => {
            attributes.count
        }
        _ => 0,
    };
    (done, Err(error))
}
