//! The map statics, under the names and sizes of the ABI, and how the packet path reaches them.
//!
//! Policy, address and Service tables grow with use (no preallocation): their sizes are limits, not reservations, and
//! a large reservation would cost hundreds of megabytes on every node. So do the answered flows, for which memory in
//! use is the promise; the unanswered ones are an LRU, which the kernel always preallocates, and small, which keeps
//! inserts cheap.

use core::ptr;

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use cellwall_datapath_common::record::{REASON_COUNTERS as REASON_COUNT, event};
use cellwall_datapath_common::{
    Active, AddressValue, Counter, FlowValue, FragmentValue, PeerKey, Record, Span, TableValue, Versioned, limits,
};
use cellwall_datapath_ebpf::layout::{Endpoint, Key4, Key6, LiveFlow, OwnKey, PortKey, TrainKey};
use cellwall_datapath_ebpf::scene::Scratch;
use cellwall_datapath_ebpf::tables::{Full, Tables};

const SPARSE: u32 = BPF_F_NO_PREALLOC;
/// An insertion that finds the key there already.
const EXISTS: i32 = -17;

/// For the programs alone.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static ACTIVE: Array<Active> = Array::with_max_entries(1, 0);
#[map]
static ENDPOINT_INDEX: Array<Versioned> = Array::with_max_entries(limits::ENDPOINT_INDEX, 0);
#[map]
static ENDPOINT_EXTRA: HashMap<u32, Versioned> = HashMap::with_max_entries(limits::ENDPOINTS, SPARSE);
#[map]
static ENDPOINTS: Array<Endpoint> = Array::with_max_entries(limits::ENDPOINTS, 0);
#[map]
static OWN_ADDRESSES: HashMap<OwnKey, u32> = HashMap::with_max_entries(limits::OWN_ADDRESSES, SPARSE);
#[map]
static ADDRESSES4: HashMap<u32, AddressValue> = HashMap::with_max_entries(limits::ADDRESSES, SPARSE);
#[map]
static ADDRESSES6: HashMap<[u32; 4], AddressValue> = HashMap::with_max_entries(limits::ADDRESSES, SPARSE);
#[map]
static PREFIXES4: LpmTrie<u32, Versioned> = LpmTrie::with_max_entries(limits::PREFIXES, SPARSE);
#[map]
static PREFIXES6: LpmTrie<[u32; 4], Versioned> = LpmTrie::with_max_entries(limits::PREFIXES, SPARSE);
#[map]
static SERVICE_PORTS: HashMap<PortKey, Versioned> = HashMap::with_max_entries(limits::SERVICE_PORTS, SPARSE);
#[map]
static POLICY: HashMap<PeerKey, Versioned> = HashMap::with_max_entries(limits::POLICY, SPARSE);
#[map]
static TABLES: Array<TableValue> = Array::with_max_entries(limits::TABLES, 0);
#[map]
static SPANS: Array<Span> = Array::with_max_entries(limits::SPANS, 0);
/// For people and tools: never read here, but made with the rest.
#[map]
static RULE_CARDS: Array<cellwall_datapath_common::RuleCardValue> = Array::with_max_entries(limits::RULES, 0);
#[map]
static RULE_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(limits::RULES, 0);
#[map]
static REASON_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(REASON_COUNT, 0);
#[map]
static EVENT_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(event::COUNT, 0);
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(limits::RECORDS_BYTES, 0);
#[map]
static REFUSED: Array<Record> = Array::with_max_entries(limits::ENDPOINTS * limits::REFUSED_PER_ENDPOINT, 0);
#[map]
static REFUSED_NEXT: Array<u64> = Array::with_max_entries(limits::ENDPOINTS, 0);
#[map]
static FLOWS4: HashMap<Key4, FlowValue> = HashMap::with_max_entries(limits::FLOWS, SPARSE);
#[map]
static FLOWS6: HashMap<Key6, FlowValue> = HashMap::with_max_entries(limits::FLOWS, SPARSE);
#[map]
static ENTERED: HashMap<u32, u64> = HashMap::with_max_entries(limits::ENDPOINTS, SPARSE);
#[map]
static GONE: HashMap<u32, u64> = HashMap::with_max_entries(limits::ENDPOINTS, SPARSE);
#[map]
static OPENING4: LruHashMap<Key4, FlowValue> = LruHashMap::with_max_entries(limits::OPENING, 0);
#[map]
static OPENING6: LruHashMap<Key6, FlowValue> = LruHashMap::with_max_entries(limits::OPENING, 0);
#[map]
static FRAGMENTS: LruHashMap<TrainKey, FragmentValue> = LruHashMap::with_max_entries(limits::FRAGMENTS, 0);

/// Set by the loader where the kernel has the coarse clock (5.11); read-only, so that the verifier never sees the
/// other branch.
#[unsafe(no_mangle)]
static COARSE_CLOCK: Global<u8> = Global::new(0);

/// The maps as [`Tables`].
#[derive(Clone, Copy)]
pub struct Maps;

/// A copy of what another writer may be changing: every word is read once, here.
#[inline(always)]
fn copy<T: Copy>(value: Option<*const T>) -> Option<T> {
    // SAFETY: the map answered it, and elements stay readable while the program runs; `T` is made of integers.
    value.map(|value| unsafe { ptr::read_volatile(value) })
}

/// The same number, of which the verifier has forgotten what it knew, given another of which it knows nothing: twice the
/// same is nothing, whatever it is. A way through memory would have a branch of its own for the verifier to follow.
#[inline(always)]
pub(crate) fn forget(number: u32, other: u32) -> u32 {
    let mut number = number;
    // SAFETY: two registers, and nothing else.
    unsafe {
        core::arch::asm!(
            "{number} ^= {other}",
            "{number} ^= {other}",
            number = inout(reg) number,
            other = in(reg) other,
            options(pure, nomem, nostack)
        );
    }
    number
}

/// What the user side does not write while it is named.
#[inline(always)]
fn shared<T>(value: Option<*const T>) -> Option<&'static T> {
    // SAFETY: as above; immutable while an index or a table names it.
    value.map(|value| unsafe { &*value })
}

#[inline(always)]
fn live(value: Option<*mut FlowValue>) -> Option<&'static LiveFlow> {
    // SAFETY: the same 32 bytes, 8-byte aligned in every hash element; all writers are programs.
    value.map(|value| unsafe { &*value.cast::<LiveFlow>() })
}

#[inline(always)]
fn add(counter: Option<*mut Counter>, flows: u64, bytes: u32, now: u64) {
    if let Some(counter) = counter {
        // SAFETY: this CPU's own element; programs at TC do not interrupt one another.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(bytes);
            (*counter).last = now;
            if flows != 0 {
                (*counter).flows += flows;
            }
        }
    }
}

/// Adds one atomically to an element of a map. The compiler offers no such thing for this target; the instruction is in every kernel.
#[inline(always)]
fn one_more(counter: *mut u64) {
    // SAFETY: an element of a map, 8-byte aligned; the instruction touches nothing else.
    unsafe {
        core::arch::asm!("lock *(u64 *)({at} + 0) += {one}", at = in(reg) counter, one = in(reg) 1_u64);
    }
}

#[inline(always)]
fn entered(answer: Result<(), i32>) -> Result<(), Full> {
    match answer {
        Ok(()) | Err(EXISTS) => Ok(()),
        Err(_) => Err(Full),
    }
}

impl Maps {
    /// What came of entering an unanswered flow. What made room for it is not told by the kernel: whoever counts those
    /// takes the flows that were entered, and leaves out those that were answered and those that are there.
    #[inline(always)]
    fn opening(self, answer: Result<(), i32>) -> Result<(), Full> {
        if answer.is_ok() {
            self.count_event(event::OPENED);
        }
        entered(answer)
    }

    /// What came of taking an answered flow out of the unanswered ones; it may not be there any more.
    #[inline(always)]
    fn answered(self, answer: Result<(), i32>) {
        if answer.is_ok() {
            self.count_event(event::ANSWERED);
        }
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn scratch(self) -> Option<&'static mut Scratch> {
        // SAFETY: this CPU's own element; programs at TC do not interrupt one another, and each field has one user at
        // a time.
        SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
    }

    #[inline(always)]
    fn active(self) -> Option<Active> {
        copy(ACTIVE.get_ptr(0))
    }

    #[inline(always)]
    fn endpoint_index(self, low: u32) -> Option<Versioned> {
        copy(ENDPOINT_INDEX.get_ptr(low))
    }

    #[inline(always)]
    fn endpoint_extra(self, ifindex: u32) -> Option<Versioned> {
        copy(ENDPOINT_EXTRA.get_ptr(ifindex))
    }

    #[inline(always)]
    fn endpoint(self, slot: u32) -> Option<&'static Endpoint> {
        shared(ENDPOINTS.get_ptr(slot))
    }

    #[inline(always)]
    fn owns(self, key: &OwnKey) -> bool {
        OWN_ADDRESSES.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn address4(self, address: &u32) -> Option<AddressValue> {
        copy(ADDRESSES4.get_ptr(address))
    }

    #[inline(always)]
    fn address6(self, address: &[u32; 4]) -> Option<AddressValue> {
        copy(ADDRESSES6.get_ptr(address))
    }

    #[inline(always)]
    fn prefix4(self, address: u32) -> Option<Versioned> {
        copy(PREFIXES4.get(Key::new(32, address)).map(ptr::from_ref))
    }

    #[inline(always)]
    fn prefix6(self, address: &[u32; 4]) -> Option<Versioned> {
        copy(PREFIXES6.get(Key::new(128, *address)).map(ptr::from_ref))
    }

    #[inline(always)]
    fn service_port(self, key: &PortKey) -> Option<Versioned> {
        copy(SERVICE_PORTS.get_ptr(key))
    }

    #[inline(always)]
    fn policy(self, key: &PeerKey) -> Option<Versioned> {
        copy(POLICY.get_ptr(key))
    }

    #[inline(always)]
    fn table(self, slot: u32) -> Option<&'static TableValue> {
        shared(TABLES.get_ptr(slot))
    }

    #[inline(always)]
    fn span(self, index: u32) -> Option<Span> {
        copy(SPANS.get_ptr(index))
    }

    #[inline(always)]
    fn flow4(self, key: &Key4) -> Option<&'static LiveFlow> {
        live(FLOWS4.get_ptr_mut(key))
    }

    #[inline(always)]
    fn flow6(self, key: &Key6) -> Option<&'static LiveFlow> {
        live(FLOWS6.get_ptr_mut(key))
    }

    #[inline(always)]
    fn opening4(self, key: &Key4) -> Option<&'static LiveFlow> {
        live(OPENING4.get_ptr_mut(key))
    }

    #[inline(always)]
    fn opening6(self, key: &Key6) -> Option<&'static LiveFlow> {
        live(OPENING6.get_ptr_mut(key))
    }

    #[inline(always)]
    fn answer4(self, key: &Key4, value: &FlowValue) -> Result<(), Full> {
        entered(FLOWS4.insert(key, value, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn answer6(self, key: &Key6, value: &FlowValue) -> Result<(), Full> {
        entered(FLOWS6.insert(key, value, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn open4(self, key: &Key4, value: &FlowValue) -> Result<(), Full> {
        self.opening(OPENING4.insert(key, value, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn open6(self, key: &Key6, value: &FlowValue) -> Result<(), Full> {
        self.opening(OPENING6.insert(key, value, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn held(self, ifindex: u32) -> u64 {
        let number = |value: Option<*const u64>| copy(value).unwrap_or(0);
        number(ENTERED.get_ptr(&ifindex)).wrapping_sub(number(GONE.get_ptr(&ifindex)))
    }

    #[inline(always)]
    fn hold(self, ifindex: u32) {
        match ENTERED.get_ptr_mut(&ifindex) {
            Some(entered) => one_more(entered),
            // Another CPU's may have been first: then one is not counted until the agent reckons anew.
            None => drop(ENTERED.insert(&ifindex, &1, u64::from(BPF_NOEXIST))),
        }
    }

    #[inline(always)]
    fn opened4(self, key: &Key4) {
        self.answered(OPENING4.remove(key));
    }

    #[inline(always)]
    fn opened6(self, key: &Key6) {
        self.answered(OPENING6.remove(key));
    }

    #[inline(always)]
    fn train(self, key: &TrainKey) -> Option<FragmentValue> {
        copy(FRAGMENTS.get_ptr(key))
    }

    #[inline(always)]
    fn enter_train(self, key: &TrainKey, value: &FragmentValue) -> Result<(), Full> {
        entered(FRAGMENTS.insert(key, value, u64::from(BPF_ANY)))
    }

    #[inline(always)]
    fn count_rule(self, slot: u32, flows: u64, bytes: u32, now: u64) {
        add(RULE_COUNTERS.get_ptr_mut(slot), flows, bytes, now);
    }

    #[inline(always)]
    fn count_reason(self, index: u32, flows: u64, bytes: u32, now: u64) {
        add(REASON_COUNTERS.get_ptr_mut(index), flows, bytes, now);
    }

    #[inline(always)]
    fn count_event(self, event: u32) {
        if let Some(counter) = EVENT_COUNTERS.get_ptr_mut(event) {
            // SAFETY: this CPU's own element.
            unsafe { *counter += 1 }
        }
    }

    #[inline(always)]
    fn send(self, record: &Record) -> Result<(), Full> {
        RECORDS
            .output::<Record>(record, u64::from(BPF_RB_NO_WAKEUP))
            .map_err(|_| Full)
    }

    #[inline(always)]
    fn keep_refused(self, slot: u32, record: &Record) {
        let Some(next) = REFUSED_NEXT.get_ptr_mut(slot) else {
            return;
        };
        // Kernels before 5.12 cannot answer the old value of an atomic addition: two CPUs may now and then choose the
        // same place, and one of two refusals is kept.
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is all that counts")]
        // SAFETY: an element of the array; all writers are programs, and add atomically.
        let place = unsafe { ptr::read_volatile(next) } as u32 % limits::REFUSED_PER_ENDPOINT;
        one_more(next);
        if let Some(kept) = REFUSED.get_ptr_mut(slot * limits::REFUSED_PER_ENDPOINT + place) {
            // SAFETY: an element of the array; a reader that meets it half written sees a mixed record at worst.
            unsafe { *kept = *record }
        }
    }

    #[inline(always)]
    fn forget(self, number: u32, other: u32) -> u32 {
        forget(number, other)
    }

    #[inline(always)]
    fn now(self) -> u64 {
        // SAFETY: helpers without arguments.
        unsafe {
            if COARSE_CLOCK.load() != 0 {
                bpf_ktime_get_coarse_ns()
            } else {
                bpf_ktime_get_ns()
            }
        }
    }

    #[inline(always)]
    fn random(self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }
}
