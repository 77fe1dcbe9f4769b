//! Filters of a `clsact` queueing discipline, for kernels without TCX.
//!
//! A filter is ours by its name, which holds the instance's. It sits at the lowest priority number that is free for
//! programs, 1 unless another kind of filter has it; among programs of one priority the kernel runs the newest first.
//! Exchanging the program of a filter is one step for the packets. The queueing discipline stays when our filters
//! go: another may have begun to rely on it.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::DecodeError;

use super::{AttachError, HOOKS, Hook, HookState, Other, Outcome, pin_name};
use crate::kernel::{Place, Programs};
use crate::links::{Link, Links};
use crate::netlink::{NLM_F_CREATE, NLM_F_EXCL, NetlinkError, Request, Route, attributes, text, word};

/// Fixed part of a message (`tcmsg`).
const HEADER: usize = 20;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_TAG: u16 = 10;
const TCA_BPF_ID: u16 = 11;
/// The program's answer is the verdict.
const DIRECT_ACTION: u32 = 1;
/// Frames of every EtherType, in network byte order.
const ETH_P_ALL: u16 = 0x0003_u16.to_be();
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// First handle we try for a filter.
const HANDLE: u32 = 0xce11_0001;

/// A filter, as far as we care.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    priority: u16,
    handle: u32,
    protocol: u16,
    kind: String,
    name: String,
    program: u32,
    tag: u64,
}

/// Brings one hook to what it should be.
pub(super) fn attach(
    route: &mut Route,
    place: &Place,
    interface: &Link,
    hook: Hook,
    programs: &Programs,
) -> Result<Outcome, AttachError> {
    make_qdisc(route, interface)?;
    let chain = list(route, interface.ifindex, hook).map_err(about(interface))?;
    let wanted = programs
        .info(hook)
        .map_err(|source| AttachError::Twin(Box::new(source)))?
        .id();
    let name = name(place, hook);
    let at = chain.iter().position(|filter| filter.name == name);
    let put = |route: &mut Route, priority, handle, flags| {
        let request = put(interface.ifindex, hook, priority, handle, &name, programs)?;
        route.order(&request, flags).map_err(about(interface))
    };
    match at {
        Some(0) if chain[0].program == wanted => Ok(Outcome::Kept),
        Some(0) => {
            put(route, chain[0].priority, chain[0].handle, 0)?;
            Ok(Outcome::Replaced)
        }
        other => {
            let priority = free_priority(&chain).ok_or_else(|| AttachError::NoPriority {
                hook,
                interface: interface.name.clone(),
            })?;
            // With others of a lower number ahead there is no place further ahead than where we are.
            if let Some(at) = other
                && chain[at].priority == priority
                && chain[..at].iter().all(|filter| filter.priority < priority)
            {
                if chain[at].program != wanted {
                    put(route, priority, chain[at].handle, 0)?;
                }
                return Ok(Outcome::Kept);
            }
            put(route, priority, free_handle(&chain), NLM_F_CREATE | NLM_F_EXCL)?;
            let Some(at) = other else { return Ok(Outcome::Attached) };
            delete(route, interface.ifindex, hook, &chain[at]).map_err(about(interface))?;
            Ok(Outcome::Reordered(chain[..at].iter().map(other_of).collect()))
        }
    }
}

/// What the kernel says about one hook.
pub(super) fn inspect(
    route: &mut Route,
    place: &Place,
    interface: &Link,
    hook: Hook,
    programs: &Programs,
) -> Result<HookState, AttachError> {
    let chain = match list(route, interface.ifindex, hook) {
        // No clsact there at all.
        Err(error) if error.refusal() == Some(libc::EINVAL) => Vec::new(),
        chain => chain.map_err(about(interface))?,
    };
    let ours = programs
        .info(hook)
        .map_err(|source| AttachError::Twin(Box::new(source)))?;
    let name = name(place, hook);
    let found = chain.iter().find(|filter| filter.name == name);
    Ok(HookState {
        hook,
        program: found.map(|filter| filter.program),
        name: None,
        current: found.is_some_and(|filter| filter.program == ours.id() || filter.tag == ours.tag().swap_bytes()),
        ahead: Some(
            chain
                .iter()
                .take_while(|filter| filter.name != name)
                .map(other_of)
                .collect(),
        ),
    })
}

/// Removes our filters from one interface.
pub(super) fn remove(route: &mut Route, place: &Place, interface: &Link) -> Result<(), AttachError> {
    remove_from(route, place, interface)
        .map(|_| ())
        .map_err(about(interface))
}

/// Removes the instance's filters from every interface of our namespace; answers how many.
pub(crate) fn remove_all(place: &Place) -> Result<usize, NetlinkError> {
    let mut route = Route::open()?;
    let mut removed = 0;
    for link in Links::open()?.list()? {
        removed += remove_from(&mut route, place, &link)?;
    }
    Ok(removed)
}

fn remove_from(route: &mut Route, place: &Place, interface: &Link) -> Result<usize, NetlinkError> {
    let mut removed = 0;
    for hook in HOOKS {
        for filter in ours(route, place, interface.ifindex, hook)? {
            delete(route, interface.ifindex, hook, &filter)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Gives every filter of the instance this build's program; answers how many.
pub(super) fn replace_all(place: &Place, programs: &Programs) -> Result<usize, AttachError> {
    let asking = |source| AttachError::Netlink {
        interface: "*".to_owned(),
        source,
    };
    let mut route = Route::open().map_err(asking)?;
    let mut replaced = 0;
    for link in Links::open().and_then(|mut links| links.list()).map_err(asking)? {
        for hook in HOOKS {
            for filter in ours(&mut route, place, link.ifindex, hook).map_err(asking)? {
                let request = put(
                    link.ifindex,
                    hook,
                    filter.priority,
                    filter.handle,
                    &filter.name,
                    programs,
                )?;
                route.order(&request, 0).map_err(about(&link))?;
                replaced += 1;
            }
        }
    }
    Ok(replaced)
}

/// Our filters at a hook; none where the interface has no clsact, or is gone.
fn ours(route: &mut Route, place: &Place, ifindex: u32, hook: Hook) -> Result<Vec<Filter>, NetlinkError> {
    let name = name(place, hook);
    match list(route, ifindex, hook) {
        Ok(chain) => Ok(chain
            .into_iter()
            .filter(|filter| filter.kind == "bpf" && filter.name == name)
            .collect()),
        Err(error) if matches!(error.refusal(), Some(libc::EINVAL | libc::ENODEV)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `INSTANCE/from_pod`: no instance name has a slash.
fn name(place: &Place, hook: Hook) -> String {
    format!("{}/{}", place.name(), pin_name(hook))
}

fn parent(hook: Hook) -> u32 {
    match hook {
        Hook::FromPod => 0xffff_fff2,
        Hook::ToPod => 0xffff_fff3,
    }
}

fn header(ifindex: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    [0, ifindex, handle, parent, info].map(u32::to_ne_bytes).concat()
}

fn make_qdisc(route: &mut Route, interface: &Link) -> Result<(), AttachError> {
    let fixed = header(interface.ifindex, CLSACT_HANDLE, CLSACT, 0);
    let request =
        Request::new("add a clsact queueing discipline", RTM_NEWQDISC, &fixed).attribute(TCA_KIND, b"clsact\0");
    match route.order(&request, NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.refusal() == Some(libc::EEXIST) => {}
        other => return other.map_err(about(interface)),
    }
    let kind = qdisc(route, interface.ifindex).map_err(about(interface))?;
    match kind.filter(|kind| kind != "clsact") {
        Some(kind) => Err(AttachError::Qdisc {
            interface: interface.name.clone(),
            kind,
        }),
        None => Ok(()),
    }
}

/// Kind of what sits where clsact goes.
fn qdisc(route: &mut Route, ifindex: u32) -> Result<Option<String>, NetlinkError> {
    let request = Request::new("list the queueing disciplines", RTM_GETQDISC, &header(ifindex, 0, 0, 0));
    route.dump(&request, |found: &mut Option<String>, payload| {
        if (word(payload, 4)?, word(payload, 8)?) == (ifindex, CLSACT_HANDLE) {
            *found = Some(kind_of(payload)?);
        }
        Ok(())
    })
}

fn kind_of(payload: &[u8]) -> Result<String, DecodeError> {
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        if attribute.kind() == TCA_KIND {
            return Ok(text(attribute.value()));
        }
    }
    Ok(String::new())
}

/// The filters of a hook in the order in which they run.
fn list(route: &mut Route, ifindex: u32, hook: Hook) -> Result<Vec<Filter>, NetlinkError> {
    let request = Request::new("list the filters", RTM_GETTFILTER, &header(ifindex, 0, parent(hook), 0));
    route.dump(&request, |filters: &mut Vec<Filter>, payload| {
        filters.extend(read(payload)?);
        Ok(())
    })
}

/// A filter of the default chain; none for a message about a priority as a whole.
fn read(payload: &[u8]) -> Result<Option<Filter>, DecodeError> {
    let info = word(payload, 16)?;
    let [priority, protocol] = [info >> 16, info & 0xffff].map(|half| u16::try_from(half).unwrap_or(u16::MAX));
    let handle = word(payload, 8)?;
    let mut filter = Filter {
        priority,
        handle,
        protocol,
        kind: String::new(),
        name: String::new(),
        program: 0,
        tag: 0,
    };
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            TCA_KIND => filter.kind = text(value),
            TCA_CHAIN if word(value, 0)? != 0 => return Ok(None),
            TCA_OPTIONS if filter.kind == "bpf" => read_options(value, &mut filter)?,
            _ => {}
        }
    }
    Ok((handle != 0).then_some(filter))
}

fn read_options(options: &[u8], filter: &mut Filter) -> Result<(), DecodeError> {
    for attribute in attributes(options, 0) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            TCA_BPF_NAME => filter.name = text(value),
            TCA_BPF_ID => filter.program = word(value, 0)?,
            TCA_BPF_TAG => filter.tag = value.first_chunk().map_or(0, |tag| u64::from_ne_bytes(*tag)),
            _ => {}
        }
    }
    Ok(())
}

fn put(
    ifindex: u32,
    hook: Hook,
    priority: u16,
    handle: u32,
    name: &str,
    programs: &Programs,
) -> Result<Request, AttachError> {
    let failed = |source| AttachError::Program {
        call: "asking about the program",
        hook,
        interface: ifindex.to_string(),
        source: Box::new(source),
    };
    let program = programs.of(hook).fd().map_err(failed)?.as_fd().as_raw_fd();
    let mut label = name.as_bytes().to_vec();
    label.push(0);
    let options = Request::new("", 0, &[])
        .attribute(TCA_BPF_FD, &program.to_ne_bytes())
        .attribute(TCA_BPF_NAME, &label)
        .attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes())
        .into_body();
    let fixed = header(ifindex, handle, parent(hook), info(priority));
    let request = Request::new("put our filter", RTM_NEWTFILTER, &fixed).attribute(TCA_KIND, b"bpf\0");
    Ok(request.attribute(TCA_OPTIONS, &options))
}

fn delete(route: &mut Route, ifindex: u32, hook: Hook, filter: &Filter) -> Result<(), NetlinkError> {
    let fixed = header(ifindex, filter.handle, parent(hook), info(filter.priority));
    let request = Request::new("remove our filter", RTM_DELTFILTER, &fixed).attribute(TCA_KIND, b"bpf\0");
    route.order(&request, 0)
}

fn info(priority: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(ETH_P_ALL)
}

/// The lowest priority number at which a program may be put: one that nobody has, or that has programs for every
/// EtherType.
fn free_priority(chain: &[Filter]) -> Option<u16> {
    let ours = |filter: &Filter| filter.kind == "bpf" && filter.protocol == ETH_P_ALL;
    (1..u16::MAX).find(|priority| chain.iter().all(|filter| filter.priority != *priority || ours(filter)))
}

fn free_handle(chain: &[Filter]) -> u32 {
    (HANDLE..=u32::MAX)
        .find(|handle| chain.iter().all(|filter| filter.handle != *handle))
        .unwrap_or(HANDLE)
}

fn other_of(filter: &Filter) -> Other {
    let name = if filter.name.is_empty() {
        &filter.kind
    } else {
        &filter.name
    };
    Other {
        id: filter.program,
        name: name.clone(),
    }
}

fn about(interface: &Link) -> impl Fn(NetlinkError) -> AttachError {
    let (name, ifindex) = (interface.name.clone(), interface.ifindex);
    move |source| match source.refusal() {
        Some(libc::ENODEV) => AttachError::Gone {
            interface: name.clone(),
            ifindex,
        },
        _ => AttachError::Netlink {
            interface: name.clone(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{ETH_P_ALL, Filter, HANDLE, free_handle, free_priority};

    fn filter(priority: u16, kind: &str) -> Filter {
        let (kind, name) = (kind.to_owned(), String::new());
        Filter {
            priority,
            handle: HANDLE,
            protocol: ETH_P_ALL,
            kind,
            name,
            program: 0,
            tag: 0,
        }
    }

    #[test]
    fn priority_one_is_ours_unless_another_kind_of_filter_has_it() {
        assert_eq!(free_priority(&[]), Some(1));
        assert_eq!(free_priority(&[filter(1, "bpf"), filter(2, "flower")]), Some(1));
        assert_eq!(free_priority(&[filter(1, "flower"), filter(2, "u32")]), Some(3));
    }

    #[test]
    fn programs_for_one_ethertype_keep_their_priority_to_themselves() {
        let narrow = Filter {
            protocol: 0x0008,
            ..filter(1, "bpf")
        };
        assert_eq!(free_priority(&[narrow]), Some(2));
    }

    #[test]
    fn a_new_filter_takes_a_handle_that_nobody_has() {
        assert_eq!(free_handle(&[filter(1, "bpf")]), HANDLE + 1);
    }
}
