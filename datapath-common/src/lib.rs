//! What the kernel side and the user side share: keys, values, events, limits, map names.
#![no_std]
