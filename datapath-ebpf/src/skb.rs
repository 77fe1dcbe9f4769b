//! A socket buffer as a [`Packet`]: straight reads where the bytes lie in the linear part, copies elsewhere. Data is
//! never pulled, which on UDP with segments to come would break them apart.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use cellwall_datapath_ebpf::packet::Packet;

/// The context of a TC program.
#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

impl Skb {
    #[inline(always)]
    fn load<T: Copy>(self, at: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes as many bytes as asked for, or fails; `T` is made of integers.
        unsafe {
            let size = size_of::<T>() as u32;
            if bpf_skb_load_bytes(self.0.cast(), at, value.as_mut_ptr().cast(), size) != 0 {
                return None;
            }
            Some(value.assume_init())
        }
    }
}

/// A field of the context.
macro_rules! field {
    // SAFETY: the context is valid for as long as the program runs; the verifier checks each access.
    ($skb:expr, $field:ident) => {
        unsafe { (*$skb.0).$field }
    };
}

impl Packet for Skb {
    #[inline(always)]
    fn bytes(self) -> u32 {
        field!(self, len)
    }

    #[inline(always)]
    fn is_tagged(self) -> bool {
        field!(self, vlan_present) != 0
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "16 bits, in network byte order")]
    fn ethertype(self) -> u16 {
        u16::from_be(field!(self, protocol) as u16)
    }

    #[inline(always)]
    fn ifindex(self) -> u32 {
        field!(self, ifindex)
    }

    #[inline(always)]
    fn ingress_ifindex(self) -> u32 {
        field!(self, ingress_ifindex)
    }

    #[inline(always)]
    fn is_segmented(self) -> bool {
        field!(self, gso_size) != 0
    }

    #[inline(always)]
    fn tag(self) -> u32 {
        field!(self, tc_index)
    }

    #[inline(always)]
    fn set_tag(self, tag: u32) {
        // SAFETY: the context is valid for as long as the program runs; this field of it is the programs' to write.
        unsafe { (*self.0).tc_index = tag }
    }

    #[inline(always)]
    fn fixed<const AT: usize, const N: usize>(self) -> Option<[u32; N]> {
        let (data, end) = (field!(self, data) as usize, field!(self, data_end) as usize);
        if data + AT + 4 * N <= end {
            let words = (data + AT) as *const u32;
            let mut value = [0; N];
            let mut index = 0;
            while index < N {
                // SAFETY: checked against the end just now. The target reads words at any address where the kernel
                // lets programs be loaded without asking for alignment, which it does for both programs.
                value[index] = unsafe { *words.add(index) };
                index += 1;
            }
            return Some(value);
        }
        self.load(AT as u32)
    }

    #[inline(always)]
    fn words<const N: usize>(self, at: u32) -> Option<[u32; N]> {
        self.load(at)
    }

    #[inline(always)]
    fn byte(self, at: u32) -> Option<u8> {
        self.load(at)
    }

    #[inline(always)]
    fn forget(self, number: u32) -> u32 {
        crate::maps::forget(number, self.bytes())
    }
}
